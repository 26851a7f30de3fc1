"""Size distributions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nanostream.scene.sizes import (
    BimodalSizes,
    ListSizes,
    LognormalSizes,
    NormalSizes,
    draw_sizes,
    size_limits,
)


@settings(max_examples=30, deadline=None)
@given(
    median=st.floats(1, 1000),
    sigma=st.floats(0, 1.5),
    seed=st.integers(0, 2**32 - 1),
)
def test_sizes_stay_within_limits(median: float, sigma: float, seed: int) -> None:
    """Every diameter is positive, finite and within the limits."""
    one = LognormalSizes(median_nm=median, sigma=sigma)
    kinds = (
        one,
        NormalSizes(mean_nm=median, sd_nm=sigma * median),
        BimodalSizes(first=one, first_share=0.3),
        ListSizes(values_nm=(median, 2 * median), weights=(1.0, 0.0)),
    )
    for sizes in kinds:
        drawn = draw_sizes(sizes, 50, np.random.default_rng(seed))
        low, high = size_limits(sizes)
        assert drawn.shape == (50,)
        assert (drawn > 0).all()
        assert (drawn >= low * (1 - 1e-9)).all()
        assert (drawn <= high * (1 + 1e-9)).all()


def test_lognormal_sizes_are_lognormal() -> None:
    """Logarithms of the diameters follow the truncated normal law."""
    drawn = draw_sizes(LognormalSizes(median_nm=176, sigma=0.42), 4000, np.random.default_rng(1))
    law = stats.truncnorm(-3, 3, loc=np.log(176), scale=0.42)
    assert stats.kstest(np.log(drawn), law.cdf).pvalue > 0.01


def test_normal_sizes_are_normal() -> None:
    """Diameters follow the normal law between the limits given."""
    sizes = NormalSizes(mean_nm=100, sd_nm=20, min_nm=90, max_nm=150)
    drawn = draw_sizes(sizes, 4000, np.random.default_rng(2))
    law = stats.truncnorm(-0.5, 2.5, loc=100, scale=20)
    assert stats.kstest(drawn, law.cdf).pvalue > 0.01


def test_bimodal_sizes_have_two_populations() -> None:
    """The share of each population is the one asked for."""
    sizes = BimodalSizes(
        first=LognormalSizes(median_nm=50, sigma=0.1),
        second=LognormalSizes(median_nm=200, sigma=0.1),
        first_share=0.7,
    )
    drawn = draw_sizes(sizes, 4000, np.random.default_rng(3))
    assert np.mean(drawn < 100) == pytest.approx(0.7, abs=0.03)
    assert np.median(drawn[drawn > 100]) == pytest.approx(200, rel=0.02)


def test_listed_sizes_follow_their_weights() -> None:
    """Only listed diameters come, as often as their weights say."""
    sizes = ListSizes(values_nm=(10.0, 20.0, 30.0), weights=(1.0, 0.0, 3.0))
    drawn = draw_sizes(sizes, 4000, np.random.default_rng(4))
    assert set(drawn.tolist()) == {10.0, 30.0}
    assert np.mean(drawn == 30.0) == pytest.approx(0.75, abs=0.03)
