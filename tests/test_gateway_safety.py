"""What a gateway withstands: strangers, nonsense, slowness, and more than it can render."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import importlib.util
import json
import logging
import socket
import time
import urllib.parse
from typing import TYPE_CHECKING, Any

import pytest
import requests

from nanostream.errors import StreamError
from nanostream.gateway.app import application
from nanostream.gateway.config import GatewayConfig, Limits
from nanostream.gateway.openapi import document
from nanostream.gateway.server import serving
from nanostream.testing import FakeRecipe, FakeSynth

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

RECIPE = FakeRecipe()
TOKEN = "a-token-of-the-tests-own"  # noqa: S105 - it opens nothing
BEARER = {"authorization": f"Bearer {TOKEN}"}


def config(**more: Any) -> GatewayConfig:
    plain = {"recipes": (RECIPE,), "port": 0, "workers": 0, "synth": FakeSynth, "shard_size": 8}
    return GatewayConfig(**{**plain, **more})


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(config(cache=tmp_path_factory.mktemp("safe") / "cache")) as address:
        yield address


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])  # noqa: S104 - it is refused
def test_other_addresses_need_a_token_or_leave(host: str) -> None:
    """Only this machine is served without a token, unless it is said that everybody may come in."""
    with pytest.raises(StreamError, match="NANOSTREAM_TOKEN"):
        config(host=host)
    assert config(host=host, token=TOKEN).token == TOKEN
    assert config(host=host, open=True).open
    for local in ("127.0.0.1", "127.3.2.1", "::1", "localhost"):
        assert config(host=local).token is None
    with pytest.raises(StreamError, match="at least 16"):
        config(token="short")  # noqa: S106 - it is refused


def test_token_is_asked_for_everywhere_but_at_the_door() -> None:
    """Without the right token only health and the bare page are to be seen."""
    with serving(config(token=TOKEN)) as address:
        closed = ["/v1", "/v1/fake", "/v1/fake/samples/0/0", "/v1/fake/shards/0/000000.tar", "/live", "/metrics"]
        closed += ["/openapi.json", "/v1/fake/zarr/0/zarr.json", "/v1/fake/stream/0", "/v1/replay", "/nowhere"]
        for path in closed:
            for headers in (
                {},
                {"authorization": TOKEN},
                {"authorization": f"Bearer {TOKEN}x"},
                {"authorization": "Bearer"},
            ):
                answer = requests.get(address + path, headers=headers, timeout=60)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
        assert requests.get(address + "/v1/fake/samples/0/0", headers=BEARER, timeout=60).status_code == 200
        for path in ("/", "/page.css", "/page.js", "/healthz", "/readyz"):
            assert requests.get(address + path, timeout=60).status_code == 200


def test_request_for_another_host_is_refused(address: str) -> None:
    """A name that somebody else's page was resolved to is not this machine's."""
    for host in ("evil.example", "127.0.0.1.evil.example", "", "localhost@evil.example"):
        assert requests.get(f"{address}/v1", headers={"host": host}, timeout=60).status_code == 400
    assert requests.get(f"{address}/v1", headers={"host": "localhost:1234"}, timeout=60).status_code == 200


def test_every_answer_has_a_number_that_is_in_the_log(address: str, caplog: pytest.LogCaptureFixture) -> None:
    """A request's own id comes back and is logged; one that could break the log is replaced."""
    with caplog.at_level(logging.INFO, "nanostream.access"):
        mine = requests.get(f"{address}/v1", headers={"x-request-id": "mine-1"}, timeout=60)
        other = requests.get(f"{address}/v1/%0a%22x", headers={"x-request-id": "a b"}, timeout=60)
        until = time.monotonic() + 10
        while len(caplog.messages) < 2 and time.monotonic() < until:
            time.sleep(0.01)
    assert mine.headers["x-request-id"] == "mine-1"
    assert len(other.headers["x-request-id"]) == 32
    assert "mine-1 127.0.0.1 GET /v1 200" in caplog.text
    assert '\n"x' not in caplog.text
    assert "/v1/%0a%22x 404" in caplog.text.lower()


def test_metrics_are_prometheus_text(address: str) -> None:
    """/metrics holds the gateway's counts and the stream's."""
    requests.get(f"{address}/v1/fake/samples/0/1", timeout=60)
    text = requests.get(f"{address}/metrics", timeout=60).text
    assert 'nanostream_gateway_requests_total{route="sample",status="200"}' in text
    for name in ("samples_rendered_total", "gateway_starved", "gateway_cache_bytes", "workers_alive"):
        assert f"nanostream_{name} " in text


def test_openapi_names_every_route() -> None:
    """The document's paths and methods are the application's."""
    with serving(config()) as address:
        told = requests.get(f"{address}/openapi.json", timeout=60).json()
    assert told == json.loads(json.dumps(document(["fake"], token=False)))
    assert routes() == {(path, method) for path, methods in told["paths"].items() for method in methods}


def routes() -> set[tuple[str, str]]:
    class Nobody:
        def __getattr__(self, name: str) -> Any:
            return config() if name == "config" else None

    guard: Any = application(Nobody())  # type: ignore[arg-type]
    found = set()
    for route in guard._app.routes:
        for method in route.methods - {"HEAD"}:
            found.add((route.path.replace(":path", ""), method.lower()))
    return found


def sample(address: str, index: int) -> requests.Response:
    return requests.get(f"{address}/v1/fake/samples/0/{index}", timeout=60)


def test_over_capacity_waits_and_then_is_429() -> None:
    """More requests than there is room for wait in line; what does not fit the line gets 429 with Retry-After."""
    limits = Limits(rooms_a_worker=1, queue=4, wait_seconds=30)
    slow = functools.partial(FakeSynth, seconds=0.2)
    with serving(config(synth=slow, limits=limits)) as address, concurrent.futures.ThreadPoolExecutor(16) as threads:
        sample(address, 999)
        answers = list(
            threads.map(lambda index: requests.get(f"{address}/v1/fake/samples/0/{index}", timeout=60), range(16))
        )
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 429}
        assert statuses.count(200) >= 5
        for answer in answers:
            if answer.status_code == 429:
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.json()["error"].startswith("expected")
        assert requests.get(f"{address}/v1/fake/samples/0/0", timeout=60).status_code == 200


def test_waiting_too_long_is_429_and_a_stuck_render_503() -> None:
    """A request waits for room no longer than it is told, and for a sample no longer than that."""
    stuck = functools.partial(FakeSynth, seconds=3)
    limits = Limits(rooms_a_worker=1, wait_seconds=0.3, render_seconds=1)
    with serving(config(synth=stuck, limits=limits)) as address, concurrent.futures.ThreadPoolExecutor(2) as threads:
        answers = list(
            threads.map(lambda index: requests.get(f"{address}/v1/fake/samples/0/{index}", timeout=60), range(2))
        )
        assert sorted(answer.status_code for answer in answers) == [429, 503]
        assert all("retry-after" in answer.headers for answer in answers)
        assert requests.get(f"{address}/healthz", timeout=60).status_code == 200


def test_one_client_does_not_take_all_the_room() -> None:
    """With per_client below the rooms, a second client's sample does not wait behind the first one's many."""
    limits = Limits(rooms_a_worker=4, per_client=2, queue=64, wait_seconds=60)
    slow = functools.partial(FakeSynth, seconds=0.1)
    with (
        serving(config(synth=slow, host="127.0.0.1", limits=limits)) as address,
        concurrent.futures.ThreadPoolExecutor(20) as threads,
    ):
        greedy = [
            threads.submit(requests.get, f"{address}/v1/fake/samples/0/{index}", timeout=60) for index in range(20)
        ]
        time.sleep(0.3)
        port = int(address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=60, source_address=("127.0.0.2", 0)) as other:
            other.sendall(
                b"GET /v1/fake/samples/0/777/meta.json HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
            )
            assert b"200 OK" in other.makefile("rb").readline()
        assert sum(not one.done() for one in greedy) > 5
        assert all(one.result().status_code == 200 for one in greedy)


@pytest.fixture(scope="module")
def attack(repository: pathlib.Path) -> Any:
    """What makes malformed requests; it is a script and no part of the package."""
    path = repository / "benchmarks" / "gateway_attack.py"
    specification = importlib.util.spec_from_file_location("nanostream_gateway_attack", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_malformed_requests_find_no_5xx(address: str, attack: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """1,500 malformed requests get no 5xx and no traceback, and leave nothing outside the cache."""
    root = tmp_path_factory.getbasetemp()
    before = files(root)
    statuses = attack.fuzz(address, "fake", count=1500)
    assert {200, 400, 404} <= statuses.keys()
    new = files(root) - before
    assert all("/cache/" in name and name.endswith(".tar") for name in new)
    assert requests.get(f"{address}/v1/fake/samples/0/1", timeout=60).status_code == 200


def files(root: pathlib.Path) -> set[str]:
    return {str(path) for path in root.rglob("*") if path.is_file()}


def say(url: str, data: bytes) -> bytes:
    """What comes back for bytes after which nothing comes, until the other side ends."""
    parts = urllib.parse.urlsplit(url)
    got = b""
    address = parts.hostname or "", parts.port or 0
    with socket.create_connection(address, timeout=20) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(data)
        while part := connection.recv(65536):
            got += part
    return got


def test_slow_requests_do_not_hold_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads and bodies that do not come are cut off in bounded time, while others are served."""
    from nanostream.gateway import protocol

    monkeypatch.setattr(protocol, "_HEAD_SECONDS", 1.0)
    with serving(config(limits=Limits(body_seconds=0.5))) as address:
        head = b"GET /v1 HTTP/1.1\r\nhost: localhost\r\n"
        body = b"POST /v1/replay HTTP/1.1\r\nhost: localhost\r\n"
        body += b"content-type: application/json\r\ncontent-length: 9\r\n\r\n{"
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            began = time.monotonic()
            slow = [threads.submit(say, address, data) for data in (b"", head, b"G", body)]
            for _ in range(20):
                assert requests.get(f"{address}/healthz", timeout=60).status_code == 200
            assert [one.result() for one in slow[:3]] == [b"", b"", b""]
            assert b"408" in slow[3].result()
            assert time.monotonic() - began < 30
        big = say(address, head + b"x: " + b"y" * 200_000)
        assert big.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400")) or not big


def test_clients_that_go_away_leave_nothing_behind() -> None:
    """A hundred clients that hang up at once leave no job and nobody in line."""
    slow = functools.partial(FakeSynth, seconds=0.05)
    with serving(config(synth=slow)) as address:
        for number in range(100):
            path = ("samples/0", "stream", "zarr/0/image/c")[number % 3]
            tail = {"samples/0": f"/{number}", "stream": "/0", "zarr/0/image/c": f"/{number}/0/0"}[path]
            parts = urllib.parse.urlsplit(address)
            with socket.create_connection((parts.hostname or "", parts.port or 0)) as connection:
                connection.sendall(f"GET /v1/fake/{path}{tail} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        until = time.monotonic() + 30
        quiet = {"rendering": 0, "waiting": 0, "streams": 0, "starved": 0}
        while time.monotonic() < until:
            now = requests.get(f"{address}/live", timeout=60).json()
            if {name: now[name] for name in quiet} == quiet:
                break
            time.sleep(0.1)
        assert {name: now[name] for name in quiet} == quiet


def test_schemathesis_finds_no_5xx(address: str, attack: Any) -> None:
    """Requests made from the OpenAPI document, right and wrong ones, are never answered with a 5xx."""
    statuses = attack.cases(address, at_least=200)
    assert statuses.total() >= 150
    assert {200, 400, 404} <= statuses.keys()
