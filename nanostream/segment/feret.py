"""Feret diameters: how far apart two parallel lines are that touch a particle from both sides.

Legend: H, W = height and width in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["feret_diameters"]

_EDGE_MIDDLES = np.array([(-0.5, 0.0), (0.5, 0.0), (0.0, -0.5), (0.0, 0.5)])


def feret_diameters(mask: npt.NDArray[Any]) -> tuple[float, float]:
    """Least and greatest Feret diameter of one particle, in pixels.

    mask: (H, W) bool, one particle and nothing else, at least one pixel. The particle ends in the middles of its
    pixels' edges, as scikit-image's `feret_diameter_max` has it, so that a single pixel measures 1. The least one is
    found where a line lies along an edge of the convex hull (Toussaint 1983, rotating calipers). ISO 9276-6.
    """
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist

    # Of each row only the ends can lie on the hull.
    rows = np.flatnonzero(mask.any(axis=1))
    ends = np.stack([mask[rows].argmax(axis=1), mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1)])
    centres = np.stack([np.tile(rows, 2), ends.ravel()], axis=1)
    points = (centres[:, None] + _EDGE_MIDDLES).reshape(-1, 2)
    hull = points[ConvexHull(points).vertices]
    edges = np.roll(hull, -1, axis=0) - hull
    normals = np.stack([edges[:, 1], -edges[:, 0]], axis=1) / np.linalg.norm(edges, axis=1, keepdims=True)
    across = hull @ normals.T
    return float(np.ptp(across, axis=0).min()), float(pdist(hull).max())
