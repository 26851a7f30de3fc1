"""What a sample of particle sizes says of the population.

Legend: n = particles, w = weight of a particle.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Sizes", "describe_sizes", "quantiles"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """A size distribution by number; None where there are too few particles to say."""

    count: int
    """Particles that entered."""
    mean_nm: float | None
    deviation_nm: float | None
    """Standard deviation."""
    d10_nm: float | None
    """A tenth of the particles are smaller."""
    d50_nm: float | None
    d90_nm: float | None
    lognormal_median_nm: float | None
    """Median of the log-normal distribution of greatest likelihood."""
    lognormal_sigma: float | None
    """Its standard deviation of ln(size); the geometric standard deviation is exp of it."""
    lognormal_distance: float | None
    """Greatest difference between its distribution function and the particles' (Kolmogorov 1933)."""


def quantiles(
    values: npt.NDArray[np.float64], shares: npt.NDArray[np.float64], *, weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Values below which these shares of the weight lie, (len(shares),).

    values, weights: (n,) with n over 0. Each value stands in the middle of its weight, and between them the function
    is linear (Hazen 1914; type 5 of Hyndman and Fan 1996 for equal weights).
    """
    order = np.argsort(values)
    up_to = np.cumsum(weights[order])
    return np.interp(shares, (up_to - 0.5 * weights[order]) / up_to[-1], values[order])


def describe_sizes(sizes_nm: npt.NDArray[np.float64], *, weights: npt.NDArray[np.float64]) -> Sizes:
    """Size distribution of a sample; particles of weight 0 are left out.

    sizes_nm, weights: (n,), sizes over 0. weights: how many particles of the population each one stands for.
    """
    kept = weights > 0
    x, w = sizes_nm[kept], weights[kept]
    if not len(x):
        return Sizes(count=0, **{field.name: None for field in dataclasses.fields(Sizes)[1:]})
    mean = float(np.average(x, weights=w))
    d10, d50, d90 = (float(value) for value in quantiles(x, np.array([0.1, 0.5, 0.9]), weights=w))
    log = np.log(x)
    mu = float(np.average(log, weights=w))
    sigma = math.sqrt(float(np.average((log - mu) ** 2, weights=w)))
    several = sigma > 0
    return Sizes(
        count=len(x),
        mean_nm=mean,
        deviation_nm=math.sqrt(float(np.average((x - mean) ** 2, weights=w))) if several else None,
        d10_nm=d10,
        d50_nm=d50,
        d90_nm=d90,
        lognormal_median_nm=math.exp(mu) if several else None,
        lognormal_sigma=sigma if several else None,
        lognormal_distance=_distance(log, w, mu=mu, sigma=sigma) if several else None,
    )


def _distance(log: npt.NDArray[np.float64], w: npt.NDArray[np.float64], *, mu: float, sigma: float) -> float:
    """Greatest difference between the weighted distribution function and a normal one."""
    from scipy.stats import norm

    order = np.argsort(log)
    up_to = np.concatenate([[0.0], np.cumsum(w[order])]) / w.sum()
    expected = norm.cdf(log[order], mu, sigma)
    return float(max((up_to[1:] - expected).max(), (expected - up_to[:-1]).max()))
