"""How fast the gateway gives what has to be rendered, and what is there already."""

from __future__ import annotations

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from gateway_server import RECIPE, WORKERS, get, server, tool, verdict

__all__ = ["cached", "speed"]

_LEAST_SHARE = 0.9
_LEAST_CACHED = 2000
_STREAM = """
import itertools, sys, time
from nanostream.dataset import StreamingDataset
dataset = StreamingDataset(sys.argv[1], seed=int(sys.argv[2]), batch_size=4)
dataset.recipe.hash
began = time.perf_counter()
done = sum(len(batch["index"]) for batch in itertools.islice(dataset, int(sys.argv[3]) // 4))
print(done / (time.perf_counter() - began))
"""


def speed(count: int = 320, rounds: int = 3) -> None:
    """Delivered to one client beside rendered with nobody listening, in turn in one run; medians."""
    shards, streams, rendered = [], [], []
    for number in range(rounds):
        with server("--shard-size", str(count)) as (_, address, _):
            get(f"{address}/v1/{RECIPE}/stream/9?stop=16")
            shards.append(_shard_rate(address, number, count))
            streams.append(_stream_rate(address, 5 + number, count))
        rendered.append(_rendered_rate(count))
    bare = statistics.median(rendered)
    for name, rates in (("a shard to curl", shards), ("a stream to StreamingDataset", streams)):
        rate = statistics.median(rates)
        told = f"{name}: {rate:.1f} samples/s delivered, {bare:.1f} rendered with nobody listening"
        verdict(f"{told}: {100 * rate / bare:.1f} % (at least 90 %)", good=rate / bare >= _LEAST_SHARE)


def cached(count: int = 64, seconds: int = 8) -> None:
    """Samples from memory one by one, and a shard from the disk, from one process."""
    with server("--shard-size", str(count)) as (_, address, _):
        base = f"/v1/{RECIPE}"
        kinds = {
            "samples as npz": [f"{base}/samples/0/{index}?format=npz" for index in range(count)],
            "samples as msgpack": [f"{base}/samples/0/{index}?format=msgpack" for index in range(count)],
            "images": [f"{base}/samples/0/{index}/image.png" for index in range(count)],
            "Zarr chunks": [f"{base}/zarr/0/image/c/{index}/0/0" for index in range(count)],
        }
        for name, paths in kinds.items():
            nbytes = sum(len(get(address + path)[1]) for path in paths) / count
            rate = _requests_rate(address, paths, seconds)
            told = f"{rate:.0f} cached {name}/s, {nbytes / 1e3:.0f} kB each (over {_LEAST_CACHED})"
            verdict(told, good=rate > _LEAST_CACHED)
        url = f"{address}{base}/shards/0/000000.tar"
        get(url)
        began = time.perf_counter()
        subprocess.run([tool("curl"), "-sf", *[url] * 200, *["-o", os.devnull] * 200], check=True)
        rate = 200 * count / (time.perf_counter() - began)
        verdict(f"{rate:.0f} samples/s of a shard on disk, to curl (over {_LEAST_CACHED})", good=rate > _LEAST_CACHED)


def _rendered_rate(count: int) -> float:
    """Samples/s that as many workers render with nobody listening."""
    import ray

    from nanostream.recipe import Recipe
    from nanostream.stream.ray import RayEngine

    with RayEngine(Recipe.preset(RECIPE), workers=WORKERS) as engine:
        list(engine.samples([range(16)]))
        plan = iter(range(1000, 1000 + count, 4))
        calls: dict[Any, Any] = {}

        def ask(worker: Any) -> None:
            start = next(plan, None)
            if start is not None:
                calls[worker.handle.render.remote("bare", 0, (start, start + 4, 1))] = worker

        began = time.perf_counter()
        for worker in engine._pool.workers * 2:  # noqa: SLF001 - a bare loop over the engine's own actors
            ask(worker)
        while calls:
            (call,), _ = ray.wait(list(calls), num_returns=1, fetch_local=False)
            ask(calls.pop(call))
        return count / (time.perf_counter() - began)


def _shard_rate(address: str, number: int, count: int) -> float:
    """Samples/s of one shard that nobody has rendered."""
    began = time.perf_counter()
    url = f"{address}/v1/{RECIPE}/shards/0/{number:06d}.tar"
    subprocess.run([tool("curl"), "-sf", url, "-o", os.devnull], check=True)
    return count / (time.perf_counter() - began)


def _stream_rate(address: str, seed: int, count: int) -> float:
    """Samples/s of a dataset behind the address, in a process of its own."""
    words = [sys.executable, "-c", _STREAM, f"{address}/v1/{RECIPE}", str(seed), str(count)]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def _requests_rate(address: str, paths: list[str], seconds: int) -> float:
    """Answers/s over 16 connections that stay open."""
    with tempfile.TemporaryDirectory() as folder:
        script = pathlib.Path(folder, "paths.lua")
        listed = ", ".join(f'"{path}"' for path in paths)
        script.write_text(
            f"local paths, at = {{{listed}}}, 0\n"
            "function request() at = at % #paths + 1; return wrk.format('GET', paths[at]) end\n"
        )
        words = [tool("wrk"), "-t1", "-c16", f"-d{seconds}s", "-s", str(script), address]
        told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in told, told
    return float(next(line for line in told.splitlines() if "Requests/sec" in line).split()[1])
