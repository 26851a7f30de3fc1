"""Wires: what their skeletons tell that areas do not.

Legend: H, W = height and width in pixels, n = wires.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["WIRE_COLUMNS", "Network", "measure_network", "measure_wires"]

WIRE_COLUMNS = {
    "wire_length_nm": "length along the skeleton, with the ends that skeletons leave out",
    "wire_diameter_nm": "area / length",
}
"""Columns that wires add to the particle table."""

_NEIGHBOURS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
_ARMS = 3
"""So many arms make a junction."""
_SMOOTH_STEPS = 9
"""Steps of a path that are averaged."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """The wires of one picture as a whole."""

    length_nm: float
    """Length of the skeleton of all that is covered."""
    junctions: int
    """Places where three or more arms of it meet; crossings and branches alike."""


def measure_wires(labels: npt.NDArray[Any], *, pixel_nm: float) -> dict[str, npt.NDArray[np.float64]]:
    """Length and mean diameter of each wire, or of the piece of it that is seen: WIRE_COLUMNS, (n,), in label order.

    labels: (H, W) integer, 0 background. pixel_nm: edge of a pixel in nm. The skeleton is that of Zhang and Suen 1984,
    as scikit-image thins; the length is that of its longest path, without its steps from pixel to pixel, and on from
    both ends to the edge.
    """
    from scipy.ndimage import distance_transform_edt
    from skimage.measure import regionprops
    from skimage.morphology import skeletonize

    rows: list[tuple[float, float]] = []
    for region in regionprops(labels):
        alone = np.pad(region.image, 1)
        path = _longest_path(np.asarray(skeletonize(alone)))
        # A distance runs to the middle of the next pixel, which is half a pixel beyond the edge.
        beyond = np.asarray(distance_transform_edt(alone))[tuple(path[[0, -1]].T)] - 0.5
        length = _smooth_length(path) + beyond.sum()
        rows.append((length * pixel_nm, region.area / length * pixel_nm))
    table = np.array(rows, dtype=np.float64).reshape(-1, len(WIRE_COLUMNS))
    return dict(zip(WIRE_COLUMNS, table.T, strict=True))


def measure_network(labels: npt.NDArray[Any], *, pixel_nm: float) -> Network:
    """Length and junctions of the network that the wires of a picture form.

    labels: (H, W) integer, 0 background; seams between touching wires are closed first. A junction is where three or
    more arms leave a disc of one and a half radii around the skeleton's branching points: skeletons fork within a
    wire's square end, and two wires that cross have two branching points beside each other. Wires that cross under a
    flat angle run together for so long that they count as two.
    """
    from scipy.ndimage import binary_closing, distance_transform_edt
    from skimage.measure import label
    from skimage.morphology import dilation, disk, skeletonize

    covered = np.asarray(binary_closing(np.pad(labels > 0, 2, mode="edge"), np.ones((3, 3)))[2:-2, 2:-2])
    thin = np.asarray(skeletonize(covered))
    if not thin.any():
        return Network(length_nm=0.0, junctions=0)
    radius = float(np.median(np.asarray(distance_transform_edt(covered))[thin]))
    branching = thin & (_neighbours(thin) >= _ARMS)
    discs = np.asarray(label(dilation(branching, disk(round(1.5 * radius + 1)))))
    arms = np.asarray(label(thin & (discs == 0), connectivity=2))
    beside = np.asarray(dilation(discs, np.ones((3, 3)))) * (arms > 0)
    # An arm that leaves a disc and comes back to it leaves it twice.
    leaving = np.asarray(label(beside > 0, connectivity=2))
    _, first = np.unique(leaving[leaving > 0], return_index=True)
    count = np.bincount(beside[leaving > 0][first], minlength=1)
    return Network(length_nm=_length(thin) * pixel_nm, junctions=int((count >= _ARMS).sum()))


def _neighbours(thin: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """How many of its eight neighbours belong to the skeleton, for each pixel."""
    from scipy.ndimage import convolve

    return np.asarray(convolve(thin.astype(np.int64), _NEIGHBOURS, mode="constant"), dtype=np.int64)


def _length(thin: npt.NDArray[np.bool_]) -> float:
    """Length of a skeleton in pixels: 0.948 a step along rows and columns, 1.343 a diagonal one (Kulpa 1977)."""
    straight = int((thin[1:] & thin[:-1]).sum()) + int((thin[:, 1:] & thin[:, :-1]).sum())
    # A diagonal whose corner is filled is that corner's two straight steps.
    falling = thin[1:, 1:] & thin[:-1, :-1] & ~thin[1:, :-1] & ~thin[:-1, 1:]
    rising = thin[1:, :-1] & thin[:-1, 1:] & ~thin[1:, 1:] & ~thin[:-1, :-1]
    return 0.948 * straight + 1.343 * int(falling.sum() + rising.sum())


def _longest_path(thin: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Pixels (steps, 2) of the longest of the shortest paths on a skeleton without rings."""
    from skimage.graph import MCP_Geometric

    costs = np.where(thin, 1.0, -1.0)
    end = tuple(np.argwhere(thin)[0])
    path: list[tuple[int, ...]] = []
    for _ in range(2):
        # What is furthest from any place is one end; what is furthest from that, the other.
        reachable = MCP_Geometric(costs)
        reached, _ = reachable.find_costs([end])
        end = np.unravel_index(np.where(np.isfinite(reached), reached, -1.0).argmax(), thin.shape)
        path = reachable.traceback(end)
    return np.array(path, dtype=np.int64)


def _smooth_length(path: npt.NDArray[np.int64]) -> float:
    """Length of a path in pixels; along rows, columns and diagonals alone it would be up to 8 % too long."""
    from scipy.ndimage import uniform_filter1d

    steps = path.astype(np.float64)
    smooth = np.asarray(uniform_filter1d(steps, min(_SMOOTH_STEPS, len(path)), axis=0, mode="nearest"))
    smooth[[0, -1]] = steps[[0, -1]]
    return float(np.linalg.norm(np.diff(smooth, axis=0), axis=1).sum())
