"""Agglomerates: clusters that grow by contact, particle by particle, and pile up.

A particle comes to its cluster either from the side, along the ground until it touches, or from
above, falling onto what lies there. Of a few candidate places it takes the one where it comes to
rest lowest, so piles spread as they do under gravity.

Legend: N = particles, M = candidate places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, Field, model_validator

from nanostream.scene.pile import Pile

if TYPE_CHECKING:
    import numpy.typing as npt

    from nanostream.scene.bodies import Bodies
    from nanostream.scene.field import Field as Area

__all__ = ["Agglomerates", "place_agglomerates"]

CANDIDATES = 6

Share = Annotated[float, Field(ge=0, le=1)]


class Agglomerates(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """Clusters of touching particles, from single ones to heaps."""

    kind: Literal["agglomerates"] = "agglomerates"
    coverage: tuple[Share, Share] = (0.02, 0.32)
    """Least and most of the picture's area under particles; drawn evenly for each picture."""
    cluster_median: Annotated[float, Field(ge=1, le=1000)] = 4.0
    """Median number of particles in a cluster; it varies from picture to picture."""
    cluster_sigma: Annotated[float, Field(ge=0, le=2)] = 1.0
    """Standard deviation of the natural logarithm of that number, within a picture."""
    chain: tuple[Share, Share] = (0.2, 0.9)
    """Least and most of a cluster's likeness to a chain: 0 a round heap, 1 a chain."""
    pile: tuple[Share, Share] = (0.1, 0.6)
    """Least and most share of a cluster's particles that come from above."""
    overlap: Annotated[float, Field(ge=0, le=0.3)] = 0.03
    """Share of its extent by which a particle enters its neighbour, as sintered necks do."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("coverage", "chain", "pile"):
            low, high = getattr(self, name)
            if low > high:
                msg = f"expected {name} as (least, most), got ({low}, {high})"
                raise ValueError(msg)
        return self


def place_agglomerates(
    placement: Agglomerates, bodies: Bodies, area: Area, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Centres (N, 3) in nm of the bodies, in clusters whose seeds lie anywhere in the area."""
    count = len(bodies.diameter_nm)
    pile = Pile(bodies, overlap=placement.overlap)
    median = placement.cluster_median * np.exp(0.5 * rng.standard_normal())
    # Every number is drawn before the loop: a call a particle would cost more than its contacts.
    azimuth = rng.uniform(0, 2 * np.pi, (count, CANDIDATES))
    cos, sin = np.cos(azimuth), np.sin(azimuth)
    who = rng.random((count, CANDIDATES))
    near = rng.uniform(0.5, 1.0, (count, CANDIDATES))
    from_above = rng.random(count)
    while pile.placed < count:
        size = max(1, round(median * np.exp(placement.cluster_sigma * rng.standard_normal())))
        chain, above = rng.uniform(*placement.chain), rng.uniform(*placement.pile)
        first = pile.placed
        x, y = area.draw(CANDIDATES, rng)
        z = pile.rest(x, y)
        best = int(np.argmin(z))
        pile.put(x[best], y[best], z[best])
        # A chain grows where it grew last.
        latest = 1 / (1 + 8 * chain)
        middle = pile.center_nm[first, :2].copy()
        # Only what stands on the ground is joined: upper ones would draw all others into a tower.
        ground = [first]
        for j in range(first + 1, min(first + size, count)):
            anchor = np.array(ground)[(who[j] ** latest * len(ground)).astype(np.int64)]
            distance = pile.beside(anchor, cos[j], sin[j])
            if from_above[j] < above:
                distance *= near[j]
            x = pile.center_nm[anchor, 0] + distance * cos[j]
            y = pile.center_nm[anchor, 1] + distance * sin[j]
            z = pile.rest(x, y)
            # Height counts most; among equals a heap takes the place next to its middle.
            away = np.hypot(x - middle[0], y - middle[1])
            best = int(np.argmin(z + (1 - chain) * 0.1 * away))
            pile.put(x[best], y[best], z[best])
            if z[best] <= bodies.floor_nm[j]:
                ground.append(j)
            middle += (pile.center_nm[j, :2] - middle) / (j - first + 1)
    return pile.center_nm
