"""A gateway in a process of its own, and how its benchmarks talk of it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OK", "RECIPE", "WORKERS", "get", "server", "tool", "verdict"]

RECIPE = "tio2-sem"
WORKERS = 2
OK = 200
_SCRIPT = "import nanostream.cli; raise SystemExit(nanostream.cli.main())"


@contextlib.contextmanager
def server(*options: str) -> Iterator[tuple[subprocess.Popen[str], str, pathlib.Path]]:
    """`nanostream serve tio2-sem`, ready: its process, its address, and the folder for its temporary files."""
    # Ray puts sockets there, whose paths must be short.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ns-", dir="/tmp"))
    words = [sys.executable, "-c", _SCRIPT, "serve", RECIPE, "--port", "0", "--quiet", "--workers", str(WORKERS)]
    process = subprocess.Popen(
        [*words, *options],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split(" at ")[1].split("/ ")[0]
        while get(f"{address}/readyz")[0] != OK:
            time.sleep(0.1)
        yield process, address, folder
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def get(url: str) -> tuple[int, bytes]:
    """Status and body."""
    try:
        with urllib.request.urlopen(url, timeout=120) as answer:  # noqa: S310 - an address of this machine
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def tool(name: str) -> str:
    """Path of a program; SystemExit that says what to install."""
    found = shutil.which(name)
    if found is None:
        sys.exit(f"{name} is not installed: apt-get install {name}")
    return found


def verdict(text: str, *, good: bool) -> None:
    """A line of the report."""
    print(f"{'ok  ' if good else 'MISS'} {text}", flush=True)
