"""How one number varies from draw to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
import pydantic

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Spread"]


class Spread(pydantic.BaseModel):
    """A normal distribution between two limits; draws beyond a limit lie on it, as a bounded generator's do."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mean: float
    """Mean of the normal distribution, before the limits."""
    sd: float = pydantic.Field(default=0.0, ge=0)
    """Standard deviation; 0 makes a constant."""
    low: float | None = None
    """Least value; `mean - 3 sd` if not given."""
    high: float | None = None
    """Greatest value; `mean + 3 sd` if not given."""

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.limits
        if not low <= self.mean <= high:
            msg = f"expected low <= mean <= high, got {low:g}, {self.mean:g}, {high:g}"
            raise ValueError(msg)
        return self

    @property
    def limits(self) -> tuple[float, float]:
        """Least and greatest value that a draw can have."""
        low = self.mean - 3 * self.sd if self.low is None else self.low
        high = self.mean + 3 * self.sd if self.high is None else self.high
        return low, high

    def draw(self, rng: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
        """`count` draws, (count,) float64. Takes as many random numbers whatever the numbers of the spread are."""
        return np.clip(self.mean + self.sd * rng.standard_normal(count), *self.limits)

    def one(self, rng: np.random.Generator) -> float:
        """One draw."""
        low, high = self.limits
        return min(max(self.mean + self.sd * rng.standard_normal(), low), high)
