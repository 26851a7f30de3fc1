"""From class probabilities to instances: markers from the insides, a watershed over the rest.

Legend: H, W = height and width in pixels; p0, p1, p2 = probability of background, inside, contour.
The numbers below were chosen on rendered samples alone.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from nanostream.segment.contacts import part_contacts
from nanostream.segment.labels import components, remove_small

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["WatershedConfig", "instances"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WatershedConfig:
    """How probabilities become instances."""

    foreground: float = 0.5
    """A pixel belongs to a particle if p1 + p2 is over this."""
    marker: float = 0.8
    """A marker is a connected region where p1 - p2, smoothed, is over this."""
    smooth_px: float = 0.5
    """Standard deviation of the Gaussian over p1 - p2."""
    marker_px: int = 3
    """Markers under this many pixels are noise."""
    smallest_px: int = 25
    """Instances under this many pixels are dropped, and holes in one that take fewer together are filled."""
    gap_contrast: float = 0.26
    """Where particles touch all the same, a gap that is darker by this share is background; see `contacts`. Over 1,
    none is. 0.26 is the dip between two lines that can just be told apart (Rayleigh 1879)."""


def instances(
    probabilities: npt.NDArray[np.float32], image: npt.NDArray[Any], config: WatershedConfig | None = None
) -> npt.NDArray[np.int32]:
    """Instances of one picture: (H, W) int32, 0 background, 1..n without gaps.

    probabilities: (3, H, W) float32 that sum to 1. image: (H, W), the grey picture that they are of.
    Regions of the foreground without a marker, thin particles for the most part, become instances of their own.
    Meyer 1994, "Topographic distance and watershed lines".
    """
    from scipy.ndimage import gaussian_filter
    from skimage.measure import regionprops
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
    labels = np.asarray(watershed(-inside, markers, mask=foreground))
    if config.gap_contrast <= 1.0:
        labels = part_contacts(labels, image, contrast=config.gap_contrast)
    labels = remove_small(labels, smallest_px=config.smallest_px)
    for region in regionprops(labels):
        # Loops of wires are larger, and so is every other instance, so that none is overwritten.
        if 0 < region.area_filled - region.area < config.smallest_px:
            labels[region.slice][region.image_filled] = region.label
    return labels
