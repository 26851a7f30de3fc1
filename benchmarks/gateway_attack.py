"""Malformed requests for a gateway on this machine, and cases made from its OpenAPI document.

The tests send a few, `python benchmarks/gateway.py fuzz schema` sends many.
"""

from __future__ import annotations

import collections
import concurrent.futures
import random
import socket
import urllib.parse
from typing import Any

_SILENCE_SECONDS = 2.0
_MOST_BYTES = 200_000
_SERVER_ERROR = 500

_NUMBERS = ["0", "-1", "00", "9" * 20, "9" * 300, "1e9", "0x10", "%30", "\u0663", "NaN", "1.5", "%00", "+", ""]
_PIECES = ["..", "%2e%2e", "..%2f..%2f..%2fetc%2fpasswd", "%00", "%", "%zz", "\\", "v1", "fake", "samples", "shards"]
_PIECES += ["zarr", "stream", "image", "c", "zarr.json", "000000.tar", "~root", "etc", "passwd", "*", "'", '"', "<b>"]
_VERSIONS = [b"HTTP/1.1"] * 20 + [b"HTTP/9.9", b"HTTP", b""]
_METHODS = [b"GET"] * 30 + [b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"G\x00T", b""]


def exchange(address: str, data: bytes) -> bytes:
    """What comes back for some bytes, until the other side closes or has been silent for a while."""
    parts = urllib.parse.urlsplit(address)
    got = b""
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=_SILENCE_SECONDS) as connection:
        try:
            connection.sendall(data)
            while (part := connection.recv(65536)) and len(got) < _MOST_BYTES:
                got += part
        except (TimeoutError, ConnectionError):
            return got
    return got


def nonsense(rng: random.Random, recipe: str) -> bytes:
    """One request with a wrong path, number, range, header, token or body, or none of HTTP at all."""
    if rng.random() < 0.05:  # noqa: PLR2004 - a share of them
        return rng.randbytes(rng.randint(1, 300))
    head = b" ".join(
        (rng.choice(_METHODS), _path(rng, recipe), rng.choice([b"HTTP/1.1"] * 6 + [b"HTTP/9.9", b"HTTP", b""]))
    )
    headers = [b"host: localhost", b"connection: close", *rng.sample(_headers(rng), rng.choice([0, 0, 0, 1, 2]))]
    body = rng.choice([b"", b"", b"{}", b"[" * 2000, b"5\r\nabc", rng.randbytes(50)])
    whole = b"\r\n".join((head, *headers)) + b"\r\n\r\n" + body
    return whole[: rng.randint(1, len(whole))] if rng.random() < 0.05 else whole  # noqa: PLR2004 - as above


def _path(rng: random.Random, recipe: str) -> bytes:
    def number() -> str:
        return rng.choice(_NUMBERS)

    def piece() -> str:
        return rng.choice(_PIECES)

    paths = [
        f"/v1/{recipe}/samples/{number()}/{number()}",
        f"/v1/{recipe}/samples/0/0/{piece()}",
        f"/v1/{recipe}/samples/0/0?format={piece()}&format={number()}",
        f"/v1/{recipe}/shards/{number()}/{number()}.tar",
        f"/v1/{recipe}/shards/0/{piece()}",
        f"/v1/{recipe}/zarr/{number()}/{rng.choice(['image', 'mask', 'particles/label', 'index'])}/c/{number()}/0/0",
        f"/v1/{recipe}/zarr/0/{piece()}/{piece()}",
        f"/v1/{recipe}/stream/{number()}?start={number()}&batch={number()}&stride={number()}&stop=0",
        f"/v1/{recipe},{piece()}={number()}/samples/0/0",
        "/" + "/".join(piece() for _ in range(rng.randint(1, 8))),
        "/" + "x" * rng.randint(1, 5000),
        "//evil.example/v1",
        f"http://evil.example/v1/{recipe}/samples/0/0",
        "/page.js/../../../../etc/passwd",
    ]
    return rng.choice(paths).encode()


def _headers(rng: random.Random) -> list[bytes]:
    number = rng.choice(_NUMBERS).encode()
    return [
        b"range: bytes=" + number + b"-" + rng.choice(_NUMBERS).encode(),
        b"range: bytes=" + b",".join([b"0-1"] * rng.randint(1, 300)),
        b"range: lines=1-2",
        b"if-none-match: " + rng.choice([b'"', b"*", b'W/"x"', b"\xff"]),
        b"authorization: Bearer " + rng.choice([b"", b"wrong", b"\xff\xfe", b"x" * 3000]),
        b"content-length: " + number,
        b"content-type: application/json",
        b"transfer-encoding: chunked",
        b"x-request-id: " + rng.choice([b"a\tb", b"\x1b[2J", b"x" * 500]),
        b"host: evil.example",
        b"expect: 100-continue",
        b"upgrade: websocket\r\nconnection: upgrade",
        b"x: " + b"y" * rng.randint(1, 40000),
        b"no colon",
    ]


def fuzz(address: str, recipe: str, *, count: int, seed: int = 0, threads: int = 16) -> collections.Counter[int]:
    """Statuses of so many malformed requests, 0 where there was none; AssertionError for a 5xx or a traceback."""

    def one(number: int) -> int:
        request = nonsense(random.Random(f"{seed} {number}"), recipe)
        got = exchange(address, request)
        first = got.split(b"\r\n", 1)[0].split()
        status = int(first[1]) if len(first) > 1 and first[1].isdigit() else 0
        assert status < _SERVER_ERROR, (request[:300], got[:300])
        assert b"Traceback" not in got, (request[:300], got[:300])
        return status

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return collections.Counter(pool.map(one, range(count)))


def cases(address: str, *, at_least: int) -> collections.Counter[int]:
    """Statuses of schemathesis's cases, valid and not, over all operations; AssertionError for a 5xx."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis import GenerationMode

    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    # A stream does not end; the fuzz asks for short ones.
    found = [result.ok() for result in schema.get_all_operations()]
    operations = [one for one in found if "/stream/" not in one.path]
    rich = [one for one in operations if one.path_parameters or one.query or one.body]
    statuses: collections.Counter[int] = collections.Counter()
    # Some repeat themselves, and count once.
    each = 1 + 3 * at_least // (4 * len(rich))
    wanted = settings(
        max_examples=each,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    for operation in operations:
        for mode in GenerationMode if operation in rich else [GenerationMode.POSITIVE]:

            @wanted
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case: Any) -> None:
                answer = case.call(base_url=address, timeout=60)
                assert answer.status_code < _SERVER_ERROR, (case, answer.text[:300])
                statuses[answer.status_code] += 1

            check()
    return statuses
