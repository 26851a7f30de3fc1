"""`nanostream doctor`: what this machine has, what it lacks, and what to do about it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from nanostream.errors import BackendError
from nanostream.render import backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Doctor", "Finding", "examine"]

_GIB = 2**30
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - looked at, not written to
_MIN_SHARED_BYTES = _GIB // 2
_MIN_DISK_BYTES = _GIB
_RENDER_SECONDS = 120
_ONE_SAMPLE = "import nanostream as ns; ns.render(ns.Recipe.preset('tio2-sem'), index=0)"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report; a remedy makes it a wrong one."""

    what: str
    found: str
    remedy: str = ""


@dataclasses.dataclass(frozen=True)
class Doctor:
    """Say what this machine has and lacks for nanostream, with the remedy."""

    def run(self) -> None:
        """Print a line for each finding; raise BackendError if one is wrong."""
        wrong = []
        for finding in examine():
            mark = "wrong" if finding.remedy else "right"
            print(f"{mark}  {finding.what:<10} {finding.found}", flush=True)
            if finding.remedy:
                wrong.append(finding.what)
                print(f"{'':18}-> {finding.remedy}", flush=True)
        if wrong:
            msg = f"expected everything to be right, got {', '.join(wrong)} wrong: do what the arrows say"
            raise BackendError(msg)
        print("Everything that nanostream needs is here.")


def examine() -> Iterator[Finding]:
    """Findings, one by one as they are made; the last renders a sample and takes seconds."""
    checks: list[Callable[[], Finding]] = [
        _python, _packages, _llvm, _backend, _torch, _ray, _cores, _shared_memory, _disk, _sample,
    ]  # fmt: skip
    for check in checks:
        yield check()


def _python() -> Finding:
    found = f"{sys.version.split()[0]} in {sys.prefix}"
    right = (3, 11) <= sys.version_info[:2] < (3, 14)
    return Finding("python", found, "" if right else "make an environment with Python 3.11, 3.12 or 3.13")


def _packages() -> Finding:
    names = ("nanostream", "mitsuba", "drjit", "zarr", "monai")
    return _versions("packages", names)


def _versions(what: str, names: tuple[str, ...]) -> Finding:
    found, missing = [], []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    remedy = f"pip install -c constraints.txt {' '.join(missing)}" if missing else ""
    return Finding(what, ", ".join([*found, *(f"no {name}" for name in missing)]), remedy)


def _llvm() -> Finding:
    llvm = backend.find_llvm()
    if llvm is None:
        return Finding("llvm", f"no libLLVM of version {backend.MIN_LLVM} or newer", backend.LLVM_REMEDY)
    return Finding("llvm", f"{llvm.version} in {llvm.path}")


def _backend() -> Finding:
    try:
        return Finding("backend", backend.choose())
    except BackendError as error:
        return Finding("backend", "none", str(error))


def _torch() -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding("torch", f"does not load ({error})", "pip install -c constraints.txt torch")
    cuda = f"CUDA {torch.version.cuda}" if torch.cuda.is_available() else "no CUDA, the CPU trains"
    return Finding("torch", f"{torch.__version__}, {cuda}")


def _ray() -> Finding:
    return _versions("ray", ("ray",))


def _cores() -> Finding:
    # A container or a batch system may give this process fewer cores than the machine has.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding("cores", str(cores))


def _shared_memory() -> Finding:
    folder = pathlib.Path(_SHARED_MEMORY)
    if not folder.is_dir():
        return Finding(_SHARED_MEMORY, "not on this system, Ray uses files")
    free = shutil.disk_usage(folder).free
    remedy = "give it more: mount -o remount,size=2G /dev/shm, or docker run --shm-size=2g"
    return Finding(_SHARED_MEMORY, f"{free / _GIB:.1f} GiB free", "" if free >= _MIN_SHARED_BYTES else remedy)


def _disk() -> Finding:
    folders = {"here": pathlib.Path.cwd(), "for temporary files": pathlib.Path(tempfile.gettempdir())}
    free = {name: shutil.disk_usage(folder).free for name, folder in folders.items()}
    found = ", ".join(f"{size / _GIB:.1f} GiB free {name}" for name, size in free.items())
    short = [str(folders[name]) for name, size in free.items() if size < _MIN_DISK_BYTES]
    return Finding("disk", found, f"free at least 1 GiB in {' and '.join(short)}" if short else "")


def _sample() -> Finding:
    # In a process of its own: an unfit LLVM aborts the process, which no exception shows.
    start = time.perf_counter()
    try:
        child = subprocess.run(
            [sys.executable, "-c", _ONE_SAMPLE],
            capture_output=True, text=True, timeout=_RENDER_SECONDS, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        remedy = "see whether other processes use the cores"
        return Finding("sample", f"not rendered within {_RENDER_SECONDS} s", remedy)
    if child.returncode:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        # Below zero: ended by a signal, which is how an LLVM that does not fit ends.
        whole = "see the whole message with: nanostream preview tio2-sem -o sheet.png"
        remedy = backend.LLVM_REMEDY if child.returncode < 0 else whole
        return Finding("sample", f"not rendered, exit code {child.returncode} ({last})", remedy)
    seconds = time.perf_counter() - start
    return Finding("sample", f"the first of tio2-sem took {seconds:.1f} s in a fresh process")
