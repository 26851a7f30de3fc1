"""Sizes of particles in a label picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nanostream.errors import PictureError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["equivalent_diameter"]


def equivalent_diameter(mask: npt.NDArray[Any], pixel_nm: float) -> npt.NDArray[np.float64]:
    """Diameter in nm of the disc with each particle's area.

    mask: (H, W) integer, 0 background. pixel_nm: edge of a pixel in nm.
    Returns (n,) float64 in label order. Raises PictureError if mask is not integer.
    ISO 9276-6, area-equivalent diameter.
    """
    if not np.issubdtype(mask.dtype, np.integer):
        msg = f"expected a mask of whole numbers, got {mask.dtype}: label the picture first"
        raise PictureError(msg)
    labels, area_px = np.unique(mask, return_counts=True)
    return np.sqrt(4.0 / np.pi * area_px[labels > 0]) * pixel_nm
