"""Ends what is left of a Ray: run as a script, with Ray's own folder and its driver's process group as words.

Waits for the end of its standard input, which comes when the process that started it is gone, however
that went. If the folder is still there, Ray's processes are killed: those with its name on the command line,
and those titled by Ray that have a file open in it. Unless the driver has said goodbye, so is all of its
process group that has: what it had started. Then the folder is removed. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import sys
import time

__all__: list[str] = []

_SECONDS = 60.0


def _holders(folder: str, group: int | None) -> list[int]:
    """Processes that belong to the Ray in this folder."""
    return [
        int(entry.name)
        for entry in pathlib.Path("/proc").glob("[0-9]*")
        if int(entry.name) != os.getpid() and _holds(entry, folder, group)
    ]


def _holds(entry: pathlib.Path, folder: str, group: int | None) -> bool:
    with contextlib.suppress(OSError):
        words = (entry / "cmdline").read_bytes()
        if folder.encode() in words:
            return True
        if words.startswith(b"ray::") or os.getpgid(int(entry.name)) == group:
            return any(_target(file).startswith(folder) for file in (entry / "fd").iterdir())
    return False


def _target(file: pathlib.Path) -> str:
    with contextlib.suppress(OSError):
        return str(file.readlink())
    return ""


def _main(folder: str, group: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    said_goodbye = bool(sys.stdin.buffer.read())
    until = time.monotonic() + _SECONDS
    while pathlib.Path(folder).exists() and time.monotonic() < until:
        for pid in _holders(folder, None if said_goodbye else group):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.02)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
