"""Ends a Ray whose driver was killed: run as a script, with Ray's own folder as its only word.

Waits for the end of its standard input, which comes when the process that started it is gone, however
that went. If the folder is still there, everything that has a file open in it, or has its name on the
command line, is killed, and the folder removed. Standard library only.
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


def _holders(folder: str) -> list[int]:
    """Processes of this user that belong to the Ray in this folder."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        if pid == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if folder.encode() in (entry / "cmdline").read_bytes():
                found.append(pid)
                continue
            for file in (entry / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(file.readlink()).startswith(folder):
                        found.append(pid)
                        break
    return found


def _main(folder: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdin.buffer.read()
    until = time.monotonic() + _SECONDS
    while pathlib.Path(folder).exists() and time.monotonic() < until:
        for pid in _holders(folder):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.1)


if __name__ == "__main__":
    _main(sys.argv[1])
