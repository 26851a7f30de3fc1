"""From class probabilities to instances: markers from the insides, a watershed over the rest.

Legend: H, W = height and width in pixels; p0, p1, p2 = probability of background, inside, contour.
The numbers below were chosen on rendered samples alone.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from nanostream.segment.labels import components, remove_small

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["WatershedConfig", "instances"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WatershedConfig:
    """How probabilities become instances."""

    foreground: float = 0.5
    """A pixel belongs to a particle if p1 + p2 is over this."""
    marker: float = 0.7
    """A marker is a connected region where p1 - p2, smoothed, is over this."""
    smooth_px: float = 1.0
    """Standard deviation of the Gaussian over p1 - p2."""
    marker_px: int = 3
    """Markers under this many pixels are noise."""
    smallest_px: int = 25
    """Instances under this many pixels are dropped."""


def instances(probabilities: npt.NDArray[np.float32], config: WatershedConfig | None = None) -> npt.NDArray[np.int32]:
    """Instances of one picture: (H, W) int32, 0 background, 1..n without gaps.

    probabilities: (3, H, W) float32 that sum to 1. Regions of the foreground without a marker, thin
    particles for the most part, become instances of their own.
    Meyer 1994, "Topographic distance and watershed lines".
    """
    from scipy.ndimage import gaussian_filter
    from skimage.segmentation import watershed

    config = config or WatershedConfig()
    foreground = probabilities[0] < 1.0 - config.foreground
    inside = gaussian_filter(probabilities[1] - probabilities[2], config.smooth_px)
    markers = remove_small(components((inside > config.marker) & foreground), smallest_px=config.marker_px)
    regions = components(foreground)
    marked = np.zeros(int(regions.max()) + 1, dtype=bool)
    marked[regions[markers > 0]] = True
    alone = foreground & ~marked[regions]
    markers = np.where(alone, regions + int(markers.max()), markers)
    labels = watershed(-inside, markers, mask=foreground)
    return remove_small(labels, smallest_px=config.smallest_px)
