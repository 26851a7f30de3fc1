"""Scattered particles: each lies on the ground by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, Field, model_validator

if TYPE_CHECKING:
    import numpy.typing as npt

    from nanostream.scene.bodies import Bodies
    from nanostream.scene.field import Field as Area

__all__ = ["Scattered", "place_scattered"]

TRIES = 200


class Scattered(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """Particles on the ground that do not overlap as seen from above."""

    kind: Literal["scattered"] = "scattered"
    coverage: tuple[Annotated[float, Field(ge=0, le=0.5)], Annotated[float, Field(ge=0, le=0.5)]] = (
        0.02,
        0.2,
    )
    """Least and most of the picture's area under particles; drawn evenly for each picture."""
    gap_nm: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Least distance between the outlines of two particles."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.coverage[0] > self.coverage[1]:
            msg = f"expected coverage as (least, most), got {self.coverage}"
            raise ValueError(msg)
        return self


def place_scattered(
    placement: Scattered, bodies: Bodies, area: Area, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Centres (N, 3) in nm; nan for a body that found no room."""
    center = np.full((len(bodies.diameter_nm), 3), np.nan)
    # Large ones first: they fit in fewest places.
    order = np.argsort(-bodies.radius_nm, kind="stable")
    x, y = area.draw(TRIES * len(order), rng)
    x, y = x.reshape(len(order), TRIES), y.reshape(len(order), TRIES)
    done: list[int] = []
    for rank, j in enumerate(order):
        apart = bodies.radius_nm[done] + bodies.radius_nm[j] + placement.gap_nm
        # Most bodies find room at once, so a few places are looked at before all are.
        for places in (slice(0, 8), slice(8, TRIES)):
            dx = x[rank, places, None] - center[done, 0]
            dy = y[rank, places, None] - center[done, 1]
            free = np.flatnonzero((dx * dx + dy * dy >= apart * apart).all(axis=1))
            if len(free):
                place = places.start + int(free[0])
                center[j] = (x[rank, place], y[rank, place], bodies.floor_nm[j])
                done.append(int(j))
                break
    return center
