"""What figures were measured on: the machine, the versions, the commit."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import pathlib
import platform
import subprocess
from typing import Any

__all__ = ["describe_machine", "now", "processor_name"]

_LIBRARIES = ("mitsuba", "drjit", "torch", "ray", "numpy", "zarr", "webdataset", "monai")


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, system, versions, commit and load, as plain JSON; None for what cannot be known."""
    return {
        "processor": processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": _memory_gb(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": _commit(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": {name: version for name in ("nanostream", *_LIBRARIES) if (version := _version(name))},
    }


def processor_name() -> str:
    """Its name as the system knows it."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def now() -> str:
    """The time in UTC, to the minute."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _lines(path: str) -> list[str]:
    try:
        return pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _memory_gb() -> float | None:
    kilobytes = [int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    return round(kilobytes[0] / 1e6, 1) if kilobytes else None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Of the checkout that this package lies in, with `+` where files differ from it."""
    folder = str(pathlib.Path(__file__).parent)
    command = ["git", "--no-optional-locks", "-C", folder, "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
