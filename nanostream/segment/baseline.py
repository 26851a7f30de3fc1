"""What needs no training: Otsu's threshold with a distance watershed, for comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nanostream.segment.labels import components, remove_small
from nanostream.segment.pictures import SMALLEST_PX

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["otsu_watershed"]

SMOOTH_PX = 1.0
PEAK_DISTANCE_PX = 5


def otsu_watershed(image: npt.NDArray[Any], *, smallest_px: int = SMALLEST_PX) -> npt.NDArray[np.int32]:
    """Instances of a bright-on-dark picture: (H, W) int32, 0 background, 1..n without gaps.

    image: (H, W) integer. Otsu 1979 after a Gaussian of 1 px; markers are the maxima of the
    distance to the background that lie at least 5 px apart.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter
    from skimage.feature import peak_local_max
    from skimage.filters import threshold_otsu
    from skimage.segmentation import watershed

    smooth = gaussian_filter(image.astype(np.float32), SMOOTH_PX)
    foreground = smooth > threshold_otsu(smooth)
    distance = gaussian_filter(distance_transform_edt(foreground), SMOOTH_PX)
    peaks = peak_local_max(distance, min_distance=PEAK_DISTANCE_PX, labels=components(foreground))
    markers = np.zeros(image.shape, dtype=np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return remove_small(watershed(-distance, markers, mask=foreground), smallest_px=smallest_px)
