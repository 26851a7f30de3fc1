"""Wires: bent tubes with round ends, such as silver nanowires.

Legend: N = wires, K = nodes of the middle line, R = rings, M = sides of a ring.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import BaseModel, Field

from nanostream.scene.sizes import LognormalSizes, Sizes

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["WireShape", "draw_lines", "sweep", "wire_nodes"]

FEWEST_NODES, MOST_NODES = 7, 37

FEWEST_SIDES, MOST_SIDES = 12, 32
CAP_DEGREES = (75.0, 50.0, 25.0)
"""Rings of a round end, as angles from the wire's last ring."""


class WireShape(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """Round wires; the scene's sizes are their diameters."""

    kind: Literal["wire"] = "wire"
    length_nm: Sizes = LognormalSizes(median_nm=4000.0, sigma=0.45)
    """Lengths from end to end along the wire; at least twice the diameter is taken."""
    bend: Annotated[float, Field(ge=0, le=3)] = 0.15
    """Standard deviation, in radians, of how far a wire's heading turns from its middle to an end."""


def draw_lines(
    shape: WireShape,
    length_nm: npt.NDArray[np.float64],
    nodes: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Smooth plane curves (N, nodes, 2) of the lengths (N,), about the origin, in any heading."""
    count = len(length_nm)
    t = np.linspace(-1, 1, nodes)
    start = rng.uniform(0, 2 * np.pi, (count, 1))
    turn, wave = rng.standard_normal((2, count, 1)) * shape.bend
    phase = rng.uniform(0, 2 * np.pi, (count, 1))
    heading = start + turn * t + 0.5 * wave * np.sin(np.pi * t + phase)
    middle = (heading[:, 1:] + heading[:, :-1]) / 2
    step = (length_nm / (nodes - 1))[:, None, None]
    line = np.zeros((count, nodes, 2))
    np.cumsum(step * np.stack([np.cos(middle), np.sin(middle)], axis=-1), axis=1, out=line[:, 1:])
    return line - line.mean(axis=1, keepdims=True)


def wire_nodes(diameter_nm: npt.NDArray[np.float64], length_nm: npt.NDArray[np.float64]) -> int:
    """Nodes of every middle line: one in three diameters of the slimmest, within limits."""
    longest = np.max(length_nm / diameter_nm, initial=0.0) / 3
    # Whole strides, in which crossings are looked for.
    return int(np.clip(3 * math.ceil(longest / 3) + 1, FEWEST_NODES, MOST_NODES))


def sweep(
    lines: npt.NDArray[np.float64],
    radius_nm: npt.NDArray[np.float64],
    near: npt.NDArray[np.bool_],
    pixel_nm: float,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Tubes about middle lines (N, K, 3), none of which is upright, with half balls at both ends.

    near: (N, K), nodes that are seen or shade what is. Elsewhere, and where a tube faces down, it has few faces.
    Returns vertices (N, V, 3), normals (N, V, 3) and faces (N, F, 3), of which those with a corner twice are none.
    """
    sides = _sides(float(radius_nm.max()) / pixel_nm)
    tangent = np.gradient(lines, axis=1)
    tangent /= np.sqrt(np.sum(tangent**2, axis=-1, keepdims=True))
    across = np.stack([-tangent[..., 1], tangent[..., 0], np.zeros(tangent.shape[:-1])], axis=-1)
    across /= np.sqrt(np.sum(across**2, axis=-1, keepdims=True))
    over = np.cross(tangent, across)

    nodes = lines.shape[1]
    cap = np.radians(CAP_DEGREES)
    node = np.concatenate([np.zeros(len(cap), int), np.arange(nodes), np.full(len(cap), nodes - 1)])
    tilt = np.concatenate([-cap, np.zeros(nodes), cap[::-1]])
    angle = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    # (N, R, M, 3): unit vectors from the middle line to the surface are its normals too.
    ring = np.cos(angle)[:, None] * across[:, node, None] + np.sin(angle)[:, None] * over[:, node, None]
    ring = np.cos(tilt)[:, None, None] * ring + np.sin(tilt)[:, None, None] * tangent[:, node, None]
    count = len(lines)
    normals = np.concatenate([-tangent[:, :1], ring.reshape(count, -1, 3), tangent[:, -1:]], axis=1)
    middle = np.repeat(lines[:, node], sides, axis=1)
    middle = np.concatenate([lines[:, :1], middle, lines[:, -1:]], axis=1)
    # A polygon of this radius has the circle's area.
    grown = radius_nm * math.sqrt(2 * math.pi / (sides * math.sin(2 * math.pi / sides)))
    corners = _corners(near[:, node], sides)
    return middle + grown[:, None, None] * normals, normals, corners[:, _faces(len(node), sides)]


def _sides(radius_px: float) -> int:
    # The outline between two corners lies 0.2 pixels inside the circle.
    inside = math.acos(max(1 - 0.2 / max(radius_px, 0.2), -1))
    # Fours, so that a side and not a corner lies on the ground.
    return min(max(4 * math.ceil(math.pi / inside / 4), FEWEST_SIDES), MOST_SIDES)


def _corners(near: npt.NDArray[np.bool_], sides: int) -> npt.NDArray[np.int64]:
    """For each vertex the one that takes its place, (N, V). near: (N, R)."""
    count, rings = near.shape
    vertex = 1 + np.arange(rings * sides).reshape(rings, sides)
    # The sides that face down fall together in the two lowest, but for those next to one that can be seen.
    side = np.arange(sides)
    down = (side > sides // 2) & (side < sides - 1)
    lowest = np.where(side < 3 * sides // 4, 3 * sides // 4 - 1, 3 * sides // 4)
    tube = slice(len(CAP_DEGREES), rings - len(CAP_DEGREES))
    vertex[tube] = np.where(down, vertex[tube][:, lowest], vertex[tube])
    # What lies before the first ring that is near, or behind the last, is drawn out to the tip.
    first, last = np.argmax(near, axis=1), rings - 1 - np.argmax(near[:, ::-1], axis=1)
    ring = np.arange(rings)
    tips = np.where(ring < first[:, None] - 1, 0, np.where(ring > last[:, None] + 1, 1 + rings * sides, -1))
    inner = np.where(tips[..., None] < 0, vertex, tips[..., None]).reshape(count, -1)
    ends = np.zeros((count, 1), np.int64)
    return np.concatenate([ends, inner, ends + 1 + rings * sides], axis=1)


def _faces(rings: int, sides: int) -> npt.NDArray[np.int64]:
    side = np.arange(sides)
    following = (side + 1) % sides
    a = 1 + (np.arange(rings - 1)[:, None] * sides + side).ravel()
    b = 1 + (np.arange(rings - 1)[:, None] * sides + following).ravel()
    last = 1 + rings * sides
    rim = last - sides
    return np.concatenate(
        [
            np.stack([np.zeros(sides, int), 1 + following, 1 + side], axis=1),
            np.stack([a, b, b + sides], axis=1),
            np.stack([a, b + sides, a + sides], axis=1),
            np.stack([np.full(sides, last), rim + side, rim + following], axis=1),
        ]
    )
