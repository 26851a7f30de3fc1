"""Label pictures: regions of a mask, and what is left without the small ones.

Legend: H, W = height and width in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["components", "remove_small"]


def components(mask: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Regions of one value beside 0 that hang together by edges (4-connectivity): (H, W) int32, 1..n."""
    from skimage.measure import label

    return np.asarray(label(mask, connectivity=1)).astype(np.int32)


def remove_small(labels: npt.NDArray[Any], *, smallest_px: int) -> npt.NDArray[np.int32]:
    """Labels without the instances under `smallest_px` pixels, renumbered to 1..n in their order."""
    values, inverse, area_px = np.unique(labels, return_inverse=True, return_counts=True)
    kept = (values > 0) & (area_px >= smallest_px)
    renumbered = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return renumbered[inverse.reshape(labels.shape)]
