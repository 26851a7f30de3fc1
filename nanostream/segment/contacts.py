"""Contacts of particles: a line of background between the two, as people part particles when they draw.

Legend: H, W = height and width in pixels. At a contact one particle is brighter, the front one for the most part: it
lies higher, and shades the other. Where the picture is blurred, the front one's brightness runs out over a pixel or
so, and the gap is darkest at the foot of that edge, on the other particle's side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["part_contacts"]

SMOOTH_PX = 0.5
"""Standard deviation of the Gaussian over the picture: over single pixels' noise, under a gap's width."""
DARK_SHARE = 0.01
"""This share of the pixels is darker than what counts as dark."""


def part_contacts(
    labels: npt.NDArray[np.int32], image: npt.NDArray[Any], *, contrast: float | None = None
) -> npt.NDArray[np.int32]:
    """Labels (H, W) with background where two particles touch, or where a gap is seen there.

    labels: (H, W), 0 background. image: (H, W), grey. contrast: how much darker the gap must be than the brighter
    particle beside it, as a share of that particle's brightness over the dark of the picture; with None there is one
    wherever particles touch. The gap is the pixel beside the brighter particle, or the next one if that is darker
    still; what lies before it is the brighter particle's.
    """
    from scipy.ndimage import gaussian_filter

    grey = np.asarray(gaussian_filter(image.astype(np.float32), SMOOTH_PX), dtype=np.float32)
    dark = float(np.quantile(grey, DARK_SHARE))
    parted, last = labels.copy(), np.array(labels.shape) - 1
    gaps: list[npt.NDArray[np.intp]] = []
    for axis in (0, 1):
        front, back = _touching(labels, grey, axis)
        step = back - front
        behind = np.clip(back + step, 0, last)
        deeper = (_at(labels, behind) == _at(labels, back)) & (_at(grey, behind) < _at(grey, back))
        gap = np.where(deeper[:, None], behind, back)
        bright = np.maximum(_at(grey, front), _at(grey, np.clip(front - step, 0, last))) - dark
        least = -np.inf if contrast is None else contrast * bright
        seen = bright - (_at(grey, gap) - dark) >= least
        joined = seen & deeper
        parted[tuple(back[joined].T)] = _at(labels, front[joined])
        gaps.append(gap[seen])
    for gap in gaps:
        parted[tuple(gap.T)] = 0
    return parted


def _touching(
    labels: npt.NDArray[np.int32], grey: npt.NDArray[np.float32], axis: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Pixels (n, 2) of two particles beside each other along an axis: the brighter one and the other."""
    first = np.moveaxis(labels, axis, 0)[:-1]
    second = np.moveaxis(labels, axis, 0)[1:]
    one = np.argwhere((first != second) & (first > 0) & (second > 0))
    if axis == 1:
        one = one[:, ::-1]
    other = one + np.eye(2, dtype=np.intp)[axis]
    brighter = (_at(grey, one) >= _at(grey, other))[:, None]
    return np.where(brighter, one, other), np.where(brighter, other, one)


def _at(values: npt.NDArray[Any], places: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
    return values[tuple(places.T)]
