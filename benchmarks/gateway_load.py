"""More clients than the workers can serve, and the end with work under way."""

from __future__ import annotations

import http.client
import pathlib
import signal
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request

import psutil
from gateway_server import OK, RECIPE, get, server, tool, verdict

__all__ = ["end", "load"]

_CONNECTIONS = 200
_TOO_MANY = 429
_MOST_MIB = 30
_MOST_MS = 200
_MOST_SECONDS = 10
_SAMPLES = 32
_LUA = """
local threads, asked = {}, 0
function setup(thread) table.insert(threads, thread) end
function request() asked = asked + 1; return wrk.format("GET", PATH .. asked .. "?format=msgpack") end
function response(status) local name = "s" .. status; _G[name] = (_G[name] or 0) + 1 end
function done(summary)
  local errors = summary.errors
  print("status 0 " .. errors.connect + errors.read + errors.write + errors.timeout)
  for code = 100, 599 do
    local count = 0
    for _, thread in ipairs(threads) do count = count + (thread:get("s" .. code) or 0) end
    if count > 0 then print("status " .. code .. " " .. count) end
  end
end
"""


class Watch(threading.Thread):
    """Asks for /healthz ten times a second, and looks at the server's memory."""

    def __init__(self, address: str, pid: int) -> None:
        super().__init__(daemon=True)
        self._parts, self._process = urllib.parse.urlsplit(address), psutil.Process(pid)
        self.milliseconds: list[float] = []
        self.resident_mib: list[float] = []
        self.wrong = 0
        self.stop = threading.Event()

    def run(self) -> None:
        """Until told to stop."""
        while not self.stop.wait(0.1):
            began = time.perf_counter()
            try:
                connection = http.client.HTTPConnection(self._parts.hostname or "", self._parts.port, timeout=30)
                connection.request("GET", "/healthz")
                self.wrong += connection.getresponse().status != OK
                connection.close()
            except OSError:
                self.wrong += 1
            self.milliseconds.append(1e3 * (time.perf_counter() - began))
            self.resident_mib.append(self._process.memory_info().rss / 2**20)


def load(seconds: float = 60.0) -> None:
    """200 connections that each ask for samples nobody has rendered, one after the other."""
    # What is kept in memory has a bound, and fills at first.
    with server("--memory", "16MB") as (process, address, _):
        get(f"{address}/v1/{RECIPE}/stream/7?stop=16")
        _asked(address, seed=1, seconds=10)
        watch = Watch(address, process.pid)
        watch.start()
        statuses = _asked(address, seed=2, seconds=seconds)
        watch.stop.set()
        watch.join()
        told = ", ".join(f"{count} of {status}" for status, count in sorted(statuses.items()) if count)
        good = {status for status, count in statuses.items() if count} <= {OK, _TOO_MANY} and not watch.wrong
        verdict(f"{_CONNECTIONS} connections for {seconds:.0f} s: {told} (only 200 and 429)", good=good)
        tenth = max(1, len(watch.resident_mib) // 10)
        first, last = (statistics.median(some) for some in (watch.resident_mib[:tenth], watch.resident_mib[-tenth:]))
        told = f"memory {first:.0f} MiB in the first tenth, {last:.0f} MiB in the last (at most {_MOST_MIB} MiB more)"
        verdict(told, good=last - first <= _MOST_MIB)
        middle, p99 = (
            statistics.median(watch.milliseconds),
            sorted(watch.milliseconds)[len(watch.milliseconds) * 99 // 100],
        )
        told = f"/healthz: median {middle:.1f} ms, p99 {p99:.0f} ms of {len(watch.milliseconds)} (under {_MOST_MS} ms)"
        verdict(told, good=p99 < _MOST_MS)
        same = _same(address)
        told = f"afterwards {same} of {_SAMPLES} samples of the stream have the local renderer's SHA-256"
        verdict(told, good=same == _SAMPLES)


def end() -> None:
    """SIGINT and SIGTERM with a shard half rendered and a stream open."""
    for number in (signal.SIGINT, signal.SIGTERM):
        with server() as (process, address, folder):
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            tails = ("shards/0/000000.tar", "stream/0")
            opened = [urllib.request.urlopen(f"{address}/v1/{RECIPE}/{tail}", timeout=60) for tail in tails]  # noqa: S310
            for one in opened:
                one.read(100)
            began = time.perf_counter()
            process.send_signal(number)
            code = process.wait(60)
            seconds = time.perf_counter() - began
            _, alive = psutil.wait_procs(family, timeout=5)
            left = [path.name for path in folder.iterdir()] + [one.name() for one in alive]
            told = f"{number.name}: exit code {code} after {seconds:.1f} s, left: {', '.join(left) or 'nothing'}"
            verdict(f"{told} (within {_MOST_SECONDS} s)", good=seconds < _MOST_SECONDS and not left and code == 0)
            for one in opened:
                one.close()


def _asked(address: str, *, seed: int, seconds: float) -> dict[int, int]:
    """Statuses of what was asked; 0 stands for connections that failed or timed out."""
    with tempfile.TemporaryDirectory() as folder:
        script = pathlib.Path(folder, "samples.lua")
        script.write_text(_LUA.replace("PATH", f'"/v1/{RECIPE}/samples/{seed}/"'))
        words = [tool("wrk"), "-t1", f"-c{_CONNECTIONS}", f"-d{seconds:.0f}s", "--timeout", "60s", "-s", str(script)]
        told = subprocess.run([*words, address], check=True, capture_output=True, text=True).stdout
    lines = (line.split() for line in told.splitlines() if line.startswith("status "))
    return {int(status): int(float(count)) for _, status, count in lines}


def _same(address: str) -> int:
    from nanostream.dataset import StreamingDataset
    from nanostream.recipe import Recipe
    from nanostream.synth import Synth

    synth = Synth(Recipe.preset(RECIPE))
    with StreamingDataset(f"{address}/v1/{RECIPE}", seed=11) as dataset:
        # Samples have digests, batches have none.
        samples = dataset._source.engine().samples([range(_SAMPLES)])  # noqa: SLF001
        return sum(one.digest() == synth.render(seed=11, index=one.index).digest() for one in samples)
