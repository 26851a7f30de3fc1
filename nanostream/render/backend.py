"""Which Mitsuba variant renders here, and the LLVM library that it needs.

Dr.Jit reads `DRJIT_LIBLLVM_PATH` when its first variant is chosen, and an LLVM that is too old
aborts the whole process, so the library is found and its version checked before Mitsuba is imported.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import dataclasses
import importlib.metadata
import logging
import os
import pathlib
import re
import sys
from typing import TYPE_CHECKING

from nanostream.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LLVM_REMEDY", "MIN_LLVM", "Llvm", "choose", "find_llvm", "start", "versions"]

logger = logging.getLogger(__name__)

MIN_LLVM = 17
"""Dr.Jit's kernels need `fmaximum` and `fminimum`; LLVM 16 and older abort the process on them."""

LLVM_REMEDY = (
    "install the wheel with `pip install karellen-llvm-core==19.1.7` (Linux x86-64), or a shared libLLVM of "
    f"version {MIN_LLVM} or newer (Debian: libllvm19, macOS: brew install llvm), "
    "or name the file in DRJIT_LIBLLVM_PATH"
)

_CARDS = pathlib.Path("/proc/driver/nvidia/gpus")

_VARIANTS = {"cuda": "cuda_ad_mono", "llvm": "llvm_ad_mono"}


@dataclasses.dataclass(frozen=True, slots=True)
class Llvm:
    """A shared LLVM library that loads here."""

    path: pathlib.Path
    version: int


def find_llvm() -> Llvm | None:
    """The libLLVM that Dr.Jit shall use, or None where none of version MIN_LLVM or newer loads.

    `DRJIT_LIBLLVM_PATH` wins; then the wheel in this environment, then the system's libraries, newest first.
    """
    for path in _candidates():
        version = _version(path)
        if version is not None and version >= MIN_LLVM:
            return Llvm(path, version)
    return None


def choose() -> str:
    """Name of the Mitsuba variant that renders here; raises BackendError if there is none.

    `NANOSTREAM_BACKEND` (cuda or llvm) chooses; without it, CUDA where a graphics card can trace rays, else LLVM.
    """
    wanted = os.environ.get("NANOSTREAM_BACKEND", "")
    if wanted and wanted not in _VARIANTS:
        msg = f"expected NANOSTREAM_BACKEND to be one of {', '.join(_VARIANTS)}, got {wanted!r}"
        raise BackendError(msg)
    name = _VARIANTS[wanted or ("cuda" if _card_traces() else "llvm")]
    if name.startswith("llvm") and find_llvm() is None:
        msg = f"no LLVM of version {MIN_LLVM} or newer was found: {LLVM_REMEDY}"
        raise BackendError(msg)
    return name


def start() -> str:
    """Import Mitsuba with the chosen variant and one thread; returns the variant's name.

    One thread a process: workers are processes, and a launch of one picture does not fill several.
    """
    name = choose()
    if name.startswith("llvm"):
        llvm = find_llvm()
        assert llvm is not None
        os.environ["DRJIT_LIBLLVM_PATH"] = str(llvm.path)
    import drjit
    import mitsuba

    # Whoever imported Dr.Jit first chose its LLVM, and an old one would abort the process without a word.
    loaded = drjit.detail.llvm_version()[0] if name.startswith("llvm") else MIN_LLVM
    if loaded < MIN_LLVM:
        msg = (
            f"expected LLVM {MIN_LLVM} or newer, but Dr.Jit was imported before nanostream and took LLVM {loaded}: "
            f"set DRJIT_LIBLLVM_PATH to {os.environ['DRJIT_LIBLLVM_PATH']} first, or import it after the first render"
        )
        raise BackendError(msg)
    if mitsuba.variant() != name:
        try:
            mitsuba.set_variant(name)
        except ImportError as error:
            msg = f"Mitsuba has no variant {name} here ({error}): reinstall it with `pip install mitsuba`"
            raise BackendError(msg) from error
        drjit.set_thread_count(1)
        mitsuba.set_log_level(mitsuba.LogLevel.Error)
    return name


def versions() -> dict[str, str]:
    """Installed versions of what decides the pixels, without importing it."""
    return {name: importlib.metadata.version(name) for name in ("mitsuba", "drjit", "numpy", "scipy")}


def _card_traces() -> bool:
    """Whether an NVIDIA card is there for this process, with the library by which Mitsuba traces rays on it.

    CUDA itself is not asked: a process that has started it cannot fork any more.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all") in {"", "-1"} or not any(_CARDS.glob("*")):
        return False
    try:
        ctypes.CDLL("libnvoptix.so.1")
    except OSError:
        return False
    return True


def _candidates() -> Iterator[pathlib.Path]:
    chosen = os.environ.get("DRJIT_LIBLLVM_PATH")
    if chosen:
        yield pathlib.Path(chosen)
        return
    folders = [pathlib.Path(sys.prefix, "lib")]
    if sys.platform == "darwin":
        folders += [pathlib.Path("/opt/homebrew/opt/llvm/lib"), pathlib.Path("/usr/local/opt/llvm/lib")]
        names = "libLLVM*.dylib"
    else:
        folders += [
            pathlib.Path("/usr/lib", f"{os.uname().machine}-linux-gnu"),
            pathlib.Path("/usr/lib64"),
            pathlib.Path("/usr/lib"),
        ]
        names = "libLLVM*.so*"
    for folder in folders:
        yield from sorted(folder.glob(names), key=_number, reverse=True)


def _number(path: pathlib.Path) -> int:
    digits = re.search(r"\d+", path.name)
    return int(digits.group()) if digits else 0


def _version(path: pathlib.Path) -> int | None:
    """Major version that the library itself reports, or None if it does not load or is no LLVM."""
    try:
        library = ctypes.CDLL(str(path))
        major, minor, patch = (ctypes.c_uint() for _ in range(3))
        library.LLVMGetVersion(ctypes.byref(major), ctypes.byref(minor), ctypes.byref(patch))
    except (OSError, AttributeError):
        # LLVM 15 has no LLVMGetVersion, and is too old all the same.
        return None
    return major.value
