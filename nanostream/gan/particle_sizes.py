"""Size and crowding of particles, from pictures that nobody annotated: a prior for scenes where the user has none.

Bright regions are Otsu's; touching particles are parted by a watershed from the middles of their distance maps. What
the border cuts is left out, and so are specks. Agglomerates hide their lower particles: sizes are those of what is
seen.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import scipy.ndimage
import skimage.measure
import skimage.morphology
import skimage.segmentation

from nanostream.errors import PictureError
from nanostream.gan.patches import covered

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = ["ParticleSizes", "estimate_sizes"]

_DEPTH_PX = 0.75
"""A neck this much thinner than what it joins parts two particles."""
_LEAST_PX = 30
_LEAST_PARTICLES = 20
_QUARTILE = 0.6745
"""Upper quartile of a standard normal variable."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class ParticleSizes:
    """diameter_px: (n,) float64, of the discs with the particles' areas. coverage: (m,) share of each picture."""

    diameter_px: npt.NDArray[np.float64]
    coverage: npt.NDArray[np.float64]

    @property
    def median_px(self) -> float:
        """Half of the particles are smaller."""
        return float(np.median(self.diameter_px))

    @property
    def sigma(self) -> float:
        """Deviation of the natural logarithm of the diameter, from the quartiles."""
        low, high = np.log(np.quantile(self.diameter_px, [0.25, 0.75]))
        return float((high - low) / (2 * _QUARTILE))


def estimate_sizes(pictures: Sequence[npt.NDArray[np.float32]]) -> ParticleSizes:
    """Sizes in the pictures, (H, W) float32 in [0, 1] each; raises PictureError if hardly any particle is found."""
    diameters, coverage = [], []
    for picture in pictures:
        bright = np.asarray(scipy.ndimage.binary_fill_holes(covered(picture)))
        coverage.append(bright.mean())
        distance = scipy.ndimage.gaussian_filter(scipy.ndimage.distance_transform_edt(bright), 1.0)
        peaks = skimage.measure.label(skimage.morphology.h_maxima(distance, _DEPTH_PX))
        parts = skimage.segmentation.watershed(-distance, peaks, mask=bright)
        inside = skimage.segmentation.clear_border(parts)
        areas = np.bincount(inside.ravel())[1:]
        diameters.append(np.sqrt(4 / np.pi * areas[areas >= _LEAST_PX]))
    found = np.concatenate(diameters)
    if len(found) < _LEAST_PARTICLES:
        msg = f"expected bright particles on a dark ground, found {len(found)} in {len(pictures)} pictures"
        raise PictureError(msg + ": name the sizes with --particles")
    return ParticleSizes(diameter_px=found, coverage=np.array(coverage))
