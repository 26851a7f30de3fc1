"""Distributions of the particles' radii in published scenes, in placement units.

Drawn in the published code's order of random numbers. Legend: n = particles.
Source: Possart et al. 2025, doi:10.1038/s41524-025-01702-6, github.com/dpossart/DiffRenderGAN (MIT).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import pydantic

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["BimodalRadii", "LognormalRadii", "NormalRadii", "Radii"]

_Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
_NotNegative = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
_Finite = Annotated[float, pydantic.Field(allow_inf_nan=False)]
_Share = Annotated[float, pydantic.Field(ge=0, le=1)]


class _Frozen(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class LognormalRadii(_Frozen):
    """Radii whose logarithm is normal."""

    kind: Literal["lognormal"] = "lognormal"
    mu: _Finite
    sigma: _NotNegative

    def draw(self, n: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """(n,) radii in placement units."""
        return rng.lognormal(self.mu, self.sigma, n)


class NormalRadii(_Frozen):
    """Normal radii."""

    kind: Literal["gaussian"] = "gaussian"
    mean: _Positive
    stddev: _NotNegative

    def draw(self, n: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """(n,) radii in placement units."""
        return rng.normal(size=n) * self.stddev + self.mean


class BimodalRadii(_Frozen):
    """A mixture of two normal radii; `p` is the share of the SECOND, as in the published code."""

    kind: Literal["bimodal"] = "bimodal"
    mean1: _Positive
    stddev1: _NotNegative
    mean2: _Positive
    stddev2: _NotNegative
    p: _Share

    def draw(self, n: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """(n,) radii in placement units, in random order."""
        second = rng.choice([0, 1], size=n, p=[1 - self.p, self.p])
        radii = np.concatenate(
            (
                rng.normal(self.mean1, self.stddev1, size=int(np.sum(second == 0))),
                rng.normal(self.mean2, self.stddev2, size=int(np.sum(second == 1))),
            )
        )
        rng.shuffle(radii)
        return radii


Radii = Annotated[LognormalRadii | NormalRadii | BimodalRadii, pydantic.Field(discriminator="kind")]
