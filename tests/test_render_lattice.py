"""Sampled and interpolated pixels of the ground."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nanostream.render.lattice import Lattice

shapes = arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)


@st.composite
def grounds(draw: st.DrawFn) -> np.ndarray:
    """Bare ground but for a few pixels."""
    ground = np.ones(draw(shapes), bool)
    for _ in range(draw(st.integers(0, 3))):
        row, column = (draw(st.integers(0, size - 1)) for size in ground.shape)
        ground[row : row + draw(st.integers(1, 6)), column : column + draw(st.integers(1, 6))] = False
    return ground


DIAMETERS = st.floats(0, 30) | st.just(math.inf)


@given(grounds(), DIAMETERS)
def test_the_ground_is_sampled_or_filled(ground: np.ndarray, diameter_px: float) -> None:
    """Filling takes the light of sampled pixels alone, and gives it to pixels of the ground alone."""
    lattice = Lattice(ground, diameter_px)
    assert ((lattice.sampled | lattice.filled) == ground).all()
    light = np.where(lattice.sampled, 1, np.where(ground, np.nan, 7)).astype(np.complex64)
    lattice.fill(light)
    np.testing.assert_allclose(light, np.where(ground, 1, 7), rtol=1e-6)


@given(grounds(), DIAMETERS, st.integers(-5, 5), st.integers(-5, 5))
def test_light_that_is_linear_stays_as_it_is(ground: np.ndarray, diameter_px: float, down: int, right: int) -> None:
    """A slope in either direction, another one in each half, is given back where the picture holds whole cells."""
    ground = ground[: (len(ground) - 1) // 12 * 12 + 1, : (ground.shape[1] - 1) // 12 * 12 + 1]
    row, column = np.indices(ground.shape)
    slope = (100 + down * row + right * column + 1j * (right * row - down * column)).astype(np.complex64)
    lattice = Lattice(ground, diameter_px)
    light = np.where(lattice.sampled, slope, np.nan).astype(np.complex64)
    lattice.fill(light)
    np.testing.assert_allclose(light[ground], slope[ground], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(("diameter_px", "share"), [(3, 1), (8, 1 / 4), (22, 1 / 16), (math.inf, 1 / 16)])
def test_fewer_pixels_are_sampled_between_larger_particles(diameter_px: float, share: float) -> None:
    """One in sixteen of bare ground, unless particles are small."""
    assert Lattice(np.ones((257, 257), bool), diameter_px).sampled.mean() == pytest.approx(share, rel=0.1)
