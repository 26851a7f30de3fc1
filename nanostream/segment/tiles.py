"""Pictures of any size in bounded memory: a tile at a time, with the particles stitched over the tiles' seams.

Legend: H, W = picture height and width, T = edge of a tile, M = margin, S = strip, in pixels.

Each tile of T x T is segmented with M more pixels on each side, so that what is kept of it has been seen with all
that the network can see around it. Beyond its own pixels a tile also fills a strip of S below and to the right; the
tile that owns the strip finds there which of its particles had been found already.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from nanostream.segment.predict import PictureStatistics, predict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from nanostream.segment.model import Model

__all__ = ["Tiling", "predict_tiled"]

_SAME = 0.5
"""Two particles in a strip are one if they share more than this part of the smaller one."""
_ROWS = 512
"""Rows that are renumbered at a time."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Tiling:
    """How a picture is cut."""

    tile_px: int = 2048
    """T; a picture of no more than T x T pixels is not cut."""
    margin_px: int = 160
    """M; over the network's field of view and the radius of a particle."""
    strip_px: int = 48
    """S, at most M."""

    def tiles(self, height: int, width: int) -> Iterator[tuple[slice, slice]]:
        """Rows and columns of each tile, from left to right and from top to bottom."""
        for top in range(0, height, self.tile_px):
            for left in range(0, width, self.tile_px):
                yield slice(top, min(top + self.tile_px, height)), slice(left, min(left + self.tile_px, width))


def predict_tiled(
    model: Model,
    image: npt.NDArray[Any],
    *,
    scratch: Path,
    flips: bool = False,
    tiling: Tiling | None = None,
    on_share: Callable[[float], None] | None = None,
) -> npt.NDArray[np.int32]:
    """Instances of one picture: (H, W) int32, 0 background, 1..n without gaps; see `predict.predict`.

    scratch: file for the labels of a picture that has to be cut, which then are an array on disk; whoever calls
    deletes it. on_share: called after each tile with the share of the picture that is done.
    """
    tiling = tiling or Tiling()
    height, width = image.shape
    if height * width <= tiling.tile_px**2:
        labels = predict(model, image, flips=flips)
        if on_share is not None:
            on_share(1.0)
        return labels
    labels = np.lib.format.open_memmap(scratch, mode="w+", dtype=np.int32, shape=(height, width))
    statistics = PictureStatistics.of(image)
    count = 0
    for rows, columns in tiling.tiles(height, width):
        seen, kept = _around(rows, columns, tiling, image.shape)
        found = predict(model, image[seen], flips=flips, statistics=statistics)
        inner = tuple(
            slice(part.start - whole.start, part.stop - whole.start) for part, whole in zip(kept, seen, strict=True)
        )
        known = np.zeros((kept[0].stop - kept[0].start, kept[1].stop - kept[1].start), dtype=bool)
        known[: tiling.strip_px * (rows.start > 0)] = True
        known[:, : tiling.strip_px * (columns.start > 0)] = True
        count = _stitch(labels[kept], found[inner], known, count=count)
        if on_share is not None:
            on_share((rows.start + (rows.stop - rows.start) * columns.stop / width) / height)
    _renumber(labels, count=count, smallest_px=model.watershed.smallest_px)
    return labels


def _around(
    rows: slice, columns: slice, tiling: Tiling, shape: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """What is looked at for a tile, and what is kept of it."""
    m, s = tiling.margin_px, tiling.strip_px
    parts = list(zip((rows, columns), shape, strict=True))
    seen = [slice(max(part.start - m, 0), min(part.stop + m, size)) for part, size in parts]
    kept = [slice(part.start, min(part.stop + s, size)) for part, size in parts]
    return (seen[0], seen[1]), (kept[0], kept[1])


def _stitch(old: npt.NDArray[np.int32], new: npt.NDArray[np.int32], known: npt.NDArray[np.bool_], *, count: int) -> int:
    """Write new particles where nothing is known yet, under the numbers of those they continue.

    old: (h, w), what is written so far, changed in place. new: (h, w), 0 and 1..n. known: (h, w), where old is final.
    count: particles so far. Returns the count after. A pair is one particle if each shares more with the other than
    with anything else, and more than half of the smaller one.
    """
    a, b = new[known], old[known]
    names, compact = np.unique(b, return_inverse=True)
    shared = np.zeros((int(new.max()) + 1, len(names)), dtype=np.int64)
    np.add.at(shared, (a, compact), 1)
    new_px, old_px = shared.sum(axis=1), shared.sum(axis=0)
    shared[0] = 0
    shared[:, names == 0] = 0
    number = np.zeros(len(shared), dtype=np.int32)
    if len(names):
        best = shared.argmax(axis=1)
        i = np.arange(len(shared))
        mutual = (shared.argmax(axis=0)[best] == i) & (shared[i, best] > _SAME * np.minimum(new_px, old_px[best]))
        number[mutual] = names[best[mutual]]
    unknown = ~known
    fresh = np.unique(new[unknown])
    fresh = fresh[(fresh > 0) & (number[fresh] == 0)]
    number[fresh] = count + 1 + np.arange(len(fresh))
    old[unknown] = number[new[unknown]]
    return count + len(fresh)


def _renumber(labels: npt.NDArray[np.int32], *, count: int, smallest_px: int) -> None:
    """Number the particles of at least `smallest_px` pixels 1..n in place, a few rows at a time."""
    blocks = [labels[top : top + _ROWS] for top in range(0, len(labels), _ROWS)]
    area_px = np.zeros(count + 1, dtype=np.int64)
    for block in blocks:
        area_px += np.bincount(block.ravel(), minlength=count + 1)
    kept = area_px >= smallest_px
    kept[0] = False
    number = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    for block in blocks:
        block[:] = number[block]
