"""Which pixels of the ground are sampled, and how the light of the others follows from them.

What varies on the ground is the share of the sky that particles hide, over lengths as great as these are, or are away.
Around them every pixel is sampled; elsewhere those of a lattice are, its nodes are averaged with their neighbours, and
the light is linear in between. As few pixels are sampled, each may take the samples that it needs to show no noise.

Legend: H, W = picture height and width in pixels; h, w = cells of the lattice, which has a node more each way.
Source: Ward, Rubinstein and Clear 1988, "A ray tracing solution for diffuse interreflection", for how fast such light
can vary.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Lattice"]

_WIDEST = 4
"""Pixels from one node of the lattice to the next, at most."""
_SHARE = 1 / 3
"""The same as a share of the particles' diameter, at most: smaller particles' light varies over shorter lengths."""


class Lattice:
    """The ground of one picture.

    sampled: (H, W) bool, pixels whose light is sampled. filled: (H, W) bool, pixels whose light follows from theirs.
    """

    def __init__(self, ground: npt.NDArray[np.bool_], diameter_px: float) -> None:
        """ground: (H, W) bool, pixels that show the ground and nothing else. diameter_px: the particles' mean."""
        self._step = step = max(int(min(_SHARE * diameter_px, _WIDEST)), 1)
        (rows, upper, _), (columns, left, _) = (_axis(size, step) for size in ground.shape)
        self._nodes = np.ix_(rows, columns)
        cells = (len(rows) - 1, len(columns) - 1)
        # What lies beyond the picture is as bare as need be.
        beyond = [(0, step * count + 1 - size) for count, size in zip(cells, ground.shape, strict=True)]
        bare = _squares(np.pad(ground, beyond, constant_values=True), step + 1, step)
        self._open = _squares(np.pad(bare, 1, constant_values=True), 2, 1)
        self.filled = bare[upper][:, left]
        self.sampled = ground & ~self.filled
        self.sampled[self._nodes] = ground[self._nodes]

    def fill(self, light: npt.NDArray[np.complex64]) -> None:
        """Give the pixels to be filled their light; light: (H, W), that of the sampled ones."""
        (_, upper, down), (_, left, right) = (_axis(size, self._step) for size in light.shape)
        nodes = light[self._nodes]
        nodes = np.where(self._open, _averaged(nodes), nodes)
        across = nodes.take(left, axis=1) * (1 - right) + nodes.take(left + 1, axis=1) * right
        # As plain numbers: numpy makes complex ones of what it multiplies complex ones by.
        across = across.view(np.float32)
        down = down[:, None]
        rows = across[upper] * (1 - down) + across[upper + 1] * down
        np.copyto(light, rows.view(np.complex64), where=self.filled)


@functools.lru_cache(maxsize=16)
def _axis(size: int, step: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Nodes along an axis of so many pixels; for each pixel, the cell in which it lies, and how far across it lies."""
    cells = max(-(-(size - 1) // step), 1)
    nodes = np.minimum(np.arange(cells + 1) * step, size - 1)
    cell = np.minimum(np.arange(size) // step, cells - 1)
    across = (np.arange(size) - nodes[cell]) / np.maximum(nodes[cell + 1] - nodes[cell], 1)
    return nodes, cell, across.astype(np.float32)


def _squares(mask: npt.NDArray[np.bool_], width: int, step: int) -> npt.NDArray[np.bool_]:
    """Whether all is set in each square of this width; one begins every `step`."""
    rows, columns = ((size - width) // step * step + 1 for size in mask.shape)
    strips = functools.reduce(np.logical_and, (mask[k : k + rows : step] for k in range(width)))
    return functools.reduce(np.logical_and, (strips[:, k : k + columns : step] for k in range(width)))


def _averaged(nodes: npt.NDArray[np.complex64]) -> npt.NDArray[np.complex64]:
    """(h + 1, w + 1): each node with the eight around it, weighted 1, 2, 1 each way."""
    # As if the light went on as steeply beyond the border.
    padded = np.pad(nodes, 1, "reflect", reflect_type="odd")
    pairs = padded[:-1] + padded[1:]
    rows = pairs[:-1] + pairs[1:]
    pairs = rows[:, :-1] + rows[:, 1:]
    return np.multiply(pairs[:, :-1] + pairs[:, 1:], 1 / 16, dtype=np.complex64)
