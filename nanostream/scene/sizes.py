"""Particle sizes: which diameters are drawn, in nanometres.

Every distribution is truncated to positive limits, by drawing from the part of its cumulative
distribution that lies between them: one uniform number a particle, none thrown away.

Legend: n = particles, u = uniform numbers in [0, 1).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, Field, model_validator
from scipy.special import ndtr, ndtri

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = [
    "AnySizes",
    "BimodalSizes",
    "ListSizes",
    "LognormalSizes",
    "NormalSizes",
    "Sizes",
    "draw_sizes",
    "size_limits",
    "typical_size",
]

Nanometres = Annotated[float, Field(gt=0, le=1e7, allow_inf_nan=False)]
Sigma = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]

REACH = 3.0
"""Where no limit is given, a distribution is cut this many standard deviations from its middle."""


def _lognormal_span(median_nm: float, sigma: float) -> tuple[float, float]:
    return median_nm * math.exp(-REACH * sigma), median_nm * math.exp(REACH * sigma)


def _normal_span(mean_nm: float, sd_nm: float) -> tuple[float, float]:
    # A wide normal would reach below zero, where no particle is.
    return max(mean_nm - REACH * sd_nm, 0.05 * mean_nm), mean_nm + REACH * sd_nm


def _check_reach(min_nm: float | None, max_nm: float | None, low: float, high: float) -> None:
    if (min_nm is not None and min_nm > high) or (max_nm is not None and max_nm < low):
        msg = (
            f"expected min_nm and max_nm to leave part of the distribution, which lies between "
            f"{low:.4g} and {high:.4g} nm, got {min_nm} and {max_nm}"
        )
        raise ValueError(msg)


class _Model(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """What every size distribution shares: fixed once made, no unknown fields."""


class _Limited(_Model, frozen=True):
    """Limits that cut a distribution."""

    min_nm: Nanometres | None = None
    """Smallest diameter; by default three standard deviations below the middle."""
    max_nm: Nanometres | None = None
    """Largest diameter; by default three standard deviations above the middle."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_nm is not None and self.max_nm is not None and self.min_nm > self.max_nm:
            msg = f"expected min_nm to be at most max_nm, got {self.min_nm} and {self.max_nm}"
            raise ValueError(msg)
        return self


class LognormalSizes(_Limited, frozen=True):
    """Log-normal diameters: the usual law of milled and grown powders."""

    kind: Literal["lognormal"] = "lognormal"
    median_nm: Nanometres = 176.0
    """Half of the particles are smaller (before the limits cut)."""
    sigma: Sigma = 0.39
    """Standard deviation of the natural logarithm of the diameter."""

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        _check_reach(self.min_nm, self.max_nm, *_lognormal_span(self.median_nm, self.sigma))
        return self


class NormalSizes(_Limited, frozen=True):
    """Normal diameters, for particles grown to one size."""

    kind: Literal["normal"] = "normal"
    mean_nm: Nanometres = 100.0
    """Mean diameter (before the limits cut)."""
    sd_nm: Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)] = 10.0
    """Standard deviation of the diameter."""

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        _check_reach(self.min_nm, self.max_nm, *_normal_span(self.mean_nm, self.sd_nm))
        return self


class BimodalSizes(_Model, frozen=True):
    """Two log-normal populations mixed, such as seeds among grown particles."""

    kind: Literal["bimodal"] = "bimodal"
    first: LognormalSizes = LognormalSizes(median_nm=80.0, sigma=0.2)
    """The first population."""
    second: LognormalSizes = LognormalSizes(median_nm=240.0, sigma=0.2)
    """The second population."""
    first_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the particles, by number, that belong to the first population."""


class ListSizes(_Model, frozen=True):
    """Diameters drawn from a list, such as a measured size distribution."""

    kind: Literal["list"] = "list"
    values_nm: Annotated[tuple[Nanometres, ...], Field(min_length=1)]
    """The diameters."""
    weights: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] | None = None
    """How often each is drawn, in any unit; by default all equally often."""

    @model_validator(mode="after")
    def _weighted(self) -> Self:
        if self.weights is None:
            return self
        if len(self.weights) != len(self.values_nm):
            msg = f"expected one weight for each of the {len(self.values_nm)} values_nm, got {len(self.weights)}"
            raise ValueError(msg)
        if not sum(self.weights) > 0:
            msg = "expected at least one weight above 0, got only zeros"
            raise ValueError(msg)
        return self


AnySizes = LognormalSizes | BimodalSizes | NormalSizes | ListSizes
Sizes = Annotated[AnySizes, Field(discriminator="kind")]


def draw_sizes(
    sizes: AnySizes,
    count: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Diameters in nm, (count,) float64, each positive and within `size_limits`."""
    u = rng.random(count)
    match sizes:
        case LognormalSizes():
            return _lognormal(sizes, u)
        case NormalSizes():
            return _normal(sizes, u)
        case BimodalSizes():
            # The same u serves both populations: v says which one a particle belongs to.
            v = rng.random(count)
            return np.where(v < sizes.first_share, _lognormal(sizes.first, u), _lognormal(sizes.second, u))
        case ListSizes():
            weights = np.asarray(sizes.weights or np.ones(len(sizes.values_nm)), np.float64)
            steps = np.cumsum(weights) / weights.sum()
            # The last step can come out a rounding below 1.
            place = np.minimum(np.searchsorted(steps, u, side="right"), np.nonzero(weights)[0][-1])
            return np.asarray(sizes.values_nm, np.float64)[place]


def size_limits(
    sizes: AnySizes,
) -> tuple[float, float]:
    """Smallest and largest diameter in nm that `draw_sizes` can give."""
    match sizes:
        case LognormalSizes():
            low, high = _lognormal_span(sizes.median_nm, sizes.sigma)
        case NormalSizes():
            low, high = _normal_span(sizes.mean_nm, sizes.sd_nm)
        case BimodalSizes():
            spans = [
                size_limits(one)
                for one, share in ((sizes.first, sizes.first_share), (sizes.second, 1 - sizes.first_share))
                if share > 0
            ]
            return min(s[0] for s in spans), max(s[1] for s in spans)
        case ListSizes():
            return min(sizes.values_nm), max(sizes.values_nm)
    return (
        low if sizes.min_nm is None else sizes.min_nm,
        high if sizes.max_nm is None else sizes.max_nm,
    )


def typical_size(
    sizes: AnySizes,
) -> float:
    """Geometric mean in nm of the smallest and the largest diameter."""
    return math.sqrt(math.prod(size_limits(sizes)))


def _truncated(u: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.float64]:
    # Standard normal numbers between low and high, by the inverse of the cumulative distribution.
    start, end = ndtr(low), ndtr(high)
    return np.clip(ndtri(start + u * (end - start)), low, high)


def _lognormal(sizes: LognormalSizes, u: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    low, high = size_limits(sizes)
    if sizes.sigma == 0:
        return np.full(u.shape, sizes.median_nm)
    z = _truncated(
        u,
        math.log(low / sizes.median_nm) / sizes.sigma,
        math.log(high / sizes.median_nm) / sizes.sigma,
    )
    return sizes.median_nm * np.exp(sizes.sigma * z)


def _normal(sizes: NormalSizes, u: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    low, high = size_limits(sizes)
    if sizes.sd_nm == 0:
        return np.full(u.shape, sizes.mean_nm)
    z = _truncated(u, (low - sizes.mean_nm) / sizes.sd_nm, (high - sizes.mean_nm) / sizes.sd_nm)
    return sizes.mean_nm + sizes.sd_nm * z
