"""Contact: where a body touches others when it is pushed or dropped against them.

Two convex bodies i and j with support functions H_i, H_j, a vector delta from the one's centre to
the other's, are apart exactly if for some direction u

    u.delta >= S(u),  S(u) = H_i(u) + H_j(-u)

With the 162 directions of `directions()` and their opposites, the place of first contact is a
smallest value over them: no iteration. Bodies that are not convex count as their hull.

Legend: N = bodies, M = candidate places, Q = pairs of a candidate and a neighbour, u = directions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nanostream.scene.bodies import Bodies, directions

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Pile"]

LEVEL = 1e-3
"""Directions with less of the path in them than this cannot part bodies along it."""


class Pile:
    """Bodies put down one after the other, in their order; each rests on what lies there."""

    def __init__(self, bodies: Bodies, *, overlap: float) -> None:
        """overlap: share of their extent by which touching bodies enter each other."""
        up = directions()
        # Coordinates first: numpy multiplies numbers that lie side by side several at a time.
        self.u = np.concatenate([up, -up]).T.copy()
        self.up_z = self.u[2, : len(up)]
        self.bodies = bodies
        self.center_nm = np.zeros((len(bodies.diameter_nm), 3))
        self.placed = 0
        self._toward = (1 - overlap) * np.concatenate([bodies.above, bodies.below], axis=1)
        self._back = (1 - overlap) * np.concatenate([bodies.below, bodies.above], axis=1)

    def beside(
        self, anchor: npt.NDArray[np.int64], cos: npt.NDArray[np.float64], sin: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Distance (M,) at which the next body, on the ground, touches placed bodies (M,).

        cos, sin: (M,), of the direction in which it lies from each.
        """
        j = self.placed
        rise = self.bodies.floor_nm[j] - self.center_nm[anchor, 2]
        along = cos[:, None] * self.u[0] + sin[:, None] * self.u[1]
        space = self._toward[anchor] + self._back[j] - rise[:, None] * self.u[2]
        distance = np.where(along > LEVEL, space / np.maximum(along, LEVEL), np.inf)
        return np.maximum(distance.min(axis=1), 0.0)

    def rest(self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Height (M,) of the next body's centre if it came to rest at each of these places."""
        j, n = self.placed, self.placed
        floor = self.bodies.floor_nm[j]
        dx = x[:, None] - self.center_nm[:n, 0]
        dy = y[:, None] - self.center_nm[:n, 1]
        reach = self.bodies.radius_nm[:n] + self.bodies.radius_nm[j]
        m, i = np.nonzero(dx * dx + dy * dy < reach * reach)
        height = np.full(len(x), floor)
        if not len(m):
            return height
        # X = S - u.delta without its vertical part, (Q, 162).
        space = self._toward[i]
        space += self._back[j]
        level = dx[m, i][:, None] * self.u[0]
        level += dy[m, i][:, None] * self.u[1]
        space -= level
        base = self.center_nm[i, 2]
        gap = ((floor - base)[:, None] * self.u[2] - space).max(axis=1)
        blocked = np.zeros(len(x), bool)
        blocked[m[gap < -1e-6 * reach[i]]] = True
        drop = base + (space[:, : len(self.up_z)] / self.up_z).min(axis=1)
        np.maximum.at(height, m, drop)
        # Free on the ground: it may stand under what leans over it.
        return np.where(blocked, height, floor)

    def put(self, x: float, y: float, z: float) -> None:
        """Leave the next body with its centre here."""
        self.center_nm[self.placed] = (x, y, z)
        self.placed += 1
