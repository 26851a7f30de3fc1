"""The area that particles are put into: the picture and a margin around it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Field"]


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """A picture of this height and width in nm, with a margin on each side."""

    height_nm: float
    width_nm: float
    margin_nm: float

    @property
    def area_nm2(self) -> float:
        """Area with the margin."""
        return (self.height_nm + 2 * self.margin_nm) * (self.width_nm + 2 * self.margin_nm)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Uniform x and y, each (count,)."""
        x = rng.uniform(-self.margin_nm, self.width_nm + self.margin_nm, count)
        y = rng.uniform(-self.margin_nm, self.height_nm + self.margin_nm, count)
        return x, y
