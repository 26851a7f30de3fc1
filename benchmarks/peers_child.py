"""Starts a peer, watches its memory, kills it, and starts it again: part of peers.py."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import tempfile
import time
from typing import Any

import psutil
from peers_loop import SAID

_LOOP = pathlib.Path(__file__).with_name("peers_loop.py")
_LEFT_AFTER_SECONDS = 3.0
_LOOK_SECONDS = 2.0
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class _Family:
    """A process with all below it, and the most memory that they held together."""

    def __init__(self, pid: int) -> None:
        self._first = psutil.Process(pid)
        self.below, self.peak_bytes, self._looked = set[psutil.Process](), 0, 0.0

    def look(self, *, now: bool = False) -> None:
        """Every two seconds at most, unless `now`: reading proportional set sizes takes time from what is measured."""
        if not now and time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        with contextlib.suppress(psutil.Error):
            # Those seen before stay: where the first has ended, nobody can say any more whose they were.
            self.below.update(self._first.children(recursive=True))
        total = 0
        for one in (self._first, *self.below):
            with contextlib.suppress(psutil.Error):
                total += one.memory_full_info().pss
        self.peak_bytes, self._looked = max(self.peak_bytes, total), time.monotonic()


def run_child(
    python: str, settings: dict[str, Any], *, limit_seconds: float, again: bool = True
) -> dict[str, Any] | str:
    """What a peer showed, its memory, and with `again` what came after its kill; or in a sentence why it failed."""
    first = _started(python, settings, limit_seconds=limit_seconds)
    if isinstance(first, str):
        return first
    used = set(first.pop("used"))
    begin, after = first.pop("begin"), first.pop("after")
    if not again:
        return first
    second = _started(python, settings | {"resume": True}, limit_seconds=limit_seconds)
    if isinstance(second, str):
        return first | {"resumed": "failed"}
    got = second["resumed"]
    # A set that has come round to its beginning could go on and begin again with the same samples.
    if second["state"] and got == after:
        verdict = "the next sample"
    elif got[: len(begin)] == begin:
        verdict = f"the first sample: {len(used & set(got))} of {len(got)} again"
    else:
        verdict = f"other samples: {len(used & set(got))} of {len(got)} again"
    return first | {"resumed": verdict}


def _started(python: str, settings: dict[str, Any], *, limit_seconds: float) -> dict[str, Any] | str:
    """What a peer's process says, its peak memory, and how many processes its kill left behind."""
    with tempfile.TemporaryDirectory() as name:
        file, log = pathlib.Path(name, "settings.json"), pathlib.Path(name, "log.txt")
        said = file.with_suffix(SAID)
        file.write_text(json.dumps(settings | {"began": time.time()}))
        with log.open("wb") as output:
            # A file and no pipe: what outlives the process would hold a pipe open.
            child = subprocess.Popen(
                [python, str(_LOOP), str(file)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=name,
                env={**os.environ, **_ONE_THREAD, "PYTHONPATH": str(_LOOP.parent)},
            )
        family, until = _Family(child.pid), time.monotonic() + limit_seconds
        try:
            while child.poll() is None and not said.exists() and time.monotonic() < until:
                family.look()
                time.sleep(0.02)
            ended = child.poll() is not None
        finally:
            family.look(now=True)
            child.kill()
            child.wait()
            left = _ended(family.below)
        if said.exists():
            return json.loads(said.read_text()) | {"peak_bytes": family.peak_bytes, "left": left}
        tail = log.read_text(errors="replace").strip().splitlines()[-1:]
        return f"failed: {''.join(tail) if ended else f'nothing within {limit_seconds:.0f} s'}"


def _ended(family: set[psutil.Process]) -> int:
    """How many are still there after three seconds; they are ended."""
    _, left = psutil.wait_procs(family, timeout=_LEFT_AFTER_SECONDS)
    alive = [one for one in left if _runs(one)]
    for one in alive:
        with contextlib.suppress(psutil.Error):
            one.kill()
    psutil.wait_procs(alive, timeout=5)
    return len(alive)


def _runs(one: psutil.Process) -> bool:
    """Whether it is more than an entry that nobody has asked about."""
    try:
        return one.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
