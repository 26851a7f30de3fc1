"""What the gateway reaches and withstands on this machine. Prints a line a figure, each with its verdict.

    python benchmarks/gateway.py                               everything, about six minutes
    python benchmarks/gateway.py speed cached load fuzz schema end        some of it

speed   samples/s delivered to one client here, beside what as many workers render with nobody listening
cached  samples/s from memory, and of a shard on disk, from one process
load    200 connections for a minute, each asking for samples that nobody has rendered yet
fuzz    10,000 malformed requests
schema  1,000 cases that schemathesis makes from the OpenAPI document
end     seconds from SIGINT and SIGTERM until all has ended, with a shard half rendered and a stream open

Needs curl and wrk (apt-get install curl wrk). Asks nothing but this machine.
"""

from __future__ import annotations

import argparse
import functools
import time
from typing import TYPE_CHECKING

from gateway_attack import cases, fuzz
from gateway_load import end, load
from gateway_server import OK, RECIPE, get, server, verdict
from gateway_speed import cached, speed

if TYPE_CHECKING:
    import pathlib


def attack_fuzz(count: int = 10_000) -> None:
    """Malformed requests, and what they left on the disk."""
    with server("--shard-size", "4") as (_, address, folder):
        began = time.perf_counter()
        before = strangers(folder)
        try:
            told, good = str(dict(sorted(fuzz(address, RECIPE, count=count).items()))), True
        except AssertionError as error:
            told, good = str(error), False
        seconds = time.perf_counter() - began
        verdict(f"{count} malformed requests in {seconds:.0f} s: {told} (no 5xx, no traceback)", good=good)
        new = strangers(folder) - before
        alive = get(f"{address}/healthz")[0] == OK
        verdict(f"{len(new)} new files beside the cache's own shards", good=not new and alive)


def strangers(folder: pathlib.Path) -> set[str]:
    """Files that are neither shards nor Ray's."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in found if "gateway" not in path.parts[0] and "session_" not in str(path)}


def attack_schema(count: int = 1000) -> None:
    """Cases from the OpenAPI document."""
    with server("--shard-size", "4", "--allow-recipes") as (_, address, _):
        try:
            statuses = cases(address, at_least=count)
        except AssertionError as error:
            verdict(f"schemathesis: {error}", good=False)
            return
        told = f"schemathesis: {statuses.total()} cases, {dict(sorted(statuses.items()))}"
        verdict(f"{told} (at least {count}, no 5xx)", good=statuses.total() >= count)


PARTS = {"speed": speed, "cached": cached, "load": load, "fuzz": attack_fuzz, "schema": attack_schema, "end": end}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="cached with fewer samples, asked for two seconds a kind")
    words = parser.parse_args()
    short = {"cached": functools.partial(cached, count=16, seconds=2)} if words.quick else {}
    for name in words.parts or PARTS:
        (PARTS | short)[name]()


if __name__ == "__main__":
    main()
