"""Networks: wires thrown onto the ground one after the other, each over those that it crosses.

Legend: N = wires, K = nodes of a middle line, C = crossings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeAlias

import numpy as np
from pydantic import BaseModel, Field, model_validator

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["STRIDE", "Network", "stack_lines"]

STRIDE = 3
"""Nodes from one to the next that are looked at for crossings."""

Floats: TypeAlias = "npt.NDArray[np.float64]"
Ints: TypeAlias = "npt.NDArray[np.int64]"


class Network(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """Wires in any place and heading, crossing at rising heights."""

    kind: Literal["network"] = "network"
    coverage: tuple[Annotated[float, Field(ge=0, le=0.9)], Annotated[float, Field(ge=0, le=0.9)]] = (
        0.03,
        0.3,
    )
    """Least and most of the picture's area under wires; drawn evenly for each picture."""
    drape: Annotated[float, Field(ge=1, le=100)] = 6.0
    """Distance over which a wire comes down behind a crossing, in units of the height it loses."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.coverage[0] > self.coverage[1]:
            msg = f"expected coverage as (least, most), got {self.coverage}"
            raise ValueError(msg)
        return self


def stack_lines(placement: Network, lines: Floats, radius_nm: Floats) -> Floats:
    """Heights (N, K) in nm of the nodes of plane lines (N, K, 2) whose wires have these radii."""
    count, nodes = lines.shape[:2]
    heights = np.repeat(radius_nm[:, None], nodes, axis=1)
    step = np.sqrt(((lines[:, 1] - lines[:, 0]) ** 2).sum(axis=-1))
    lower, lower_at, upper, upper_at, sine = _crossings(lines, radius_nm)
    order = np.argsort(upper, kind="stable")
    bounds = np.searchsorted(upper[order], np.arange(count + 1))
    place = np.arange(nodes)
    for j in range(count):
        these = order[bounds[j] : bounds[j + 1]]
        if not len(these):
            continue
        i, at = lower[these], lower_at[these]
        left = np.minimum(at.astype(np.int64), nodes - 2)
        under = heights[i, left] + (at - left) * (heights[i, left + 1] - heights[i, left])
        touch = radius_nm[i] + radius_nm[j]
        rise = under + touch - radius_nm[j]
        # Level above the wire below, the longer the more slanting they cross; then down.
        along = np.abs(place - upper_at[these][:, None]) * step[j]
        level = np.maximum(touch / np.maximum(sine[these], 0.2), step[j])
        fall = np.maximum(placement.drape * rise, 2 * step[j])
        x = np.clip((along - level[:, None]) / fall[:, None], 0, 1)
        bump = rise[:, None] * (1 - x * x * (3 - 2 * x))
        heights[j] += bump.max(axis=0)
    return heights


def _crossings(lines: Floats, radius_nm: Floats) -> tuple[Ints, Floats, Ints, Floats, Floats]:
    """Crossings of earlier wires i and later wires j: i, node of i, j, node of j, sine between."""
    nodes = lines.shape[1]
    # Every third node is enough to find crossings of lines that bend this little.
    stride = STRIDE if (nodes - 1) % STRIDE == 0 else 1
    ends = lines[:, ::stride].copy()
    # Ends reach on by the thickest wire: a tip on another wire crosses it.
    for end, inner in ((0, 1), (-1, -2)):
        out = lines[:, end] - lines[:, inner]
        length = np.sqrt(np.sum(out**2, axis=-1, keepdims=True))
        ends[:, end] += out / length * (radius_nm[:, None] + radius_nm.max())
    low, high = ends.min(axis=1), ends.max(axis=1)
    meet = (low[:, None] <= high[None]).all(axis=-1) & (low[None] <= high[:, None]).all(axis=-1)
    i, j = np.nonzero(np.triu(meet, 1))
    # p + a r and q + b s, with a and b in [0, 1], for all pairs of segments: (pairs, K-1, K-1).
    p, r = ends[i, :-1, None], np.diff(ends[i], axis=1)[:, :, None]
    q, s = ends[j, None, :-1], np.diff(ends[j], axis=1)[:, None]
    cross = r[..., 0] * s[..., 1] - r[..., 1] * s[..., 0]
    safe = np.where(cross == 0, np.inf, cross)
    way = q - p
    a = (way[..., 0] * s[..., 1] - way[..., 1] * s[..., 0]) / safe
    b = (way[..., 0] * r[..., 1] - way[..., 1] * r[..., 0]) / safe
    hit = (a >= 0) & (a < 1) & (b >= 0) & (b < 1) & np.isfinite(safe)
    pair, at, bt = np.nonzero(hit)
    lengths = np.sqrt((r[pair, at, 0] ** 2).sum(-1) * (s[pair, 0, bt] ** 2).sum(-1))
    sine = np.abs(cross[pair, at, bt]) / lengths
    lower_at = np.minimum(stride * (at + a[pair, at, bt]), nodes - 1)
    upper_at = np.minimum(stride * (bt + b[pair, at, bt]), nodes - 1)
    return i[pair], lower_at, j[pair], upper_at, sine
