"""Numbers to the device, always in memory of one alignment, and never a single one where others may be more."""

from __future__ import annotations

from typing import Any

import mitsuba as mi
import numpy as np

__all__ = ["several", "upload"]

_ALIGNMENT = 64


def several(values: np.ndarray) -> np.ndarray:
    """(N,) values as they are, and a single one twice.

    Dr.Jit takes an array of one number for a constant, and compiles a kernel of its own for it.
    """
    return values.repeat(2) if len(values) == 1 else values


def upload(values: np.ndarray) -> Any:
    """A Dr.Jit array of the flattened values: Float of float32, UInt of uint32, Bool of bool.

    On the CPU Dr.Jit reads numpy's memory where it lies, and compiles another kernel where it lies otherwise:
    without this, samples compile kernels by chance.
    """
    raw = np.empty(values.nbytes + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    placed = raw[start : start + values.nbytes].view(values.dtype)
    placed[:] = values.ravel()
    kinds: dict[str, Any] = {"float32": mi.Float, "uint32": mi.UInt, "bool": mi.Bool}
    return kinds[values.dtype.name](placed)
