"""Sizes and shapes against what geometry says of discs, rectangles and lines."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import pdist
from scipy.stats import kstest, lognorm
from scipy.stats.qmc import Halton
from skimage.draw import disk, polygon
from skimage.measure import regionprops

from nanostream.segment.distribution import describe_sizes, quantiles
from nanostream.segment.feret import feret_diameters
from nanostream.segment.measure import PARTICLE_COLUMNS, measure
from nanostream.segment.wires import WIRE_COLUMNS, measure_network, measure_wires


def _rectangle(length: float, width: float, degrees: float, size: int = 260) -> np.ndarray:
    """One rectangle in the middle of a label picture."""
    along = np.array([math.sin(math.radians(degrees)), math.cos(math.radians(degrees))])
    across = np.array([along[1], -along[0]])
    corners = [
        size / 2 + along * length / 2 * a + across * width / 2 * b for a, b in ((1, 1), (1, -1), (-1, -1), (-1, 1))
    ]
    labels = np.zeros((size, size), np.int32)
    labels[polygon(*np.array(corners).T)] = 1
    return labels


@given(mask=arrays(np.bool_, (6, 8)).filter(np.any))
def test_feret_diameters_are_those_of_all_directions(mask: np.ndarray) -> None:
    """Least and greatest width over a thousand directions are the Feret diameters, of any shape."""
    rows, columns = np.nonzero(mask)
    middles = np.array([(-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5)])
    points = (np.stack([rows, columns], 1)[:, None] + middles).reshape(-1, 2)
    angles = np.linspace(0, np.pi, 1000)
    widths = np.ptp(points @ np.stack([np.sin(angles), np.cos(angles)]), axis=0)
    least, greatest = feret_diameters(mask)
    assert greatest == pytest.approx(pdist(points).max())
    # Between two directions the width changes by no more than the extent times the angle.
    assert least <= widths.min() + 1e-9
    assert least == pytest.approx(widths.min(), abs=greatest * angles[1])


@pytest.mark.parametrize("degrees", [0, 17, 45, 70])
def test_a_rectangle_has_its_sides(degrees: float) -> None:
    """Of a rectangle in any direction the least Feret diameter is the short side, in nm."""
    table = measure(_rectangle(150, 60, degrees), pixel_nm=2.0)
    assert table["feret_min_nm"][0] == pytest.approx(120, rel=0.03)
    assert table["feret_max_nm"][0] == pytest.approx(2 * math.hypot(150, 60), rel=0.03)
    assert table["area_nm2"][0] == pytest.approx(4 * 150 * 60, rel=0.03)
    assert table["aspect_ratio"][0] == pytest.approx(math.hypot(150, 60) / 60, rel=0.03)
    assert table["solidity"][0] > 0.97


def test_a_disc_is_round_and_others_measure_the_same() -> None:
    """A disc has circularity and aspect ratio 1, and scikit-image's own greatest Feret diameter."""
    labels = np.zeros((200, 220), np.uint16)
    labels[disk((100, 110), 60.3)] = 9
    table = measure(labels, pixel_nm=3.0)
    assert set(table) == set(PARTICLE_COLUMNS)
    assert table["label"].tolist() == [9]
    assert (table["x_px"][0], table["y_px"][0]) == (110, 100)
    assert table["circularity"][0] == pytest.approx(1, abs=0.02)
    assert table["aspect_ratio"][0] == pytest.approx(1, abs=0.02)
    assert table["diameter_nm"][0] == pytest.approx(2 * 60.3 * 3, rel=0.01)
    assert table["feret_max_nm"][0] == pytest.approx(3 * regionprops(labels)[0].feret_diameter_max, rel=0.01)


def test_nothing_is_measured_as_nothing() -> None:
    """A picture without particles has a table without rows, and no size distribution."""
    empty = np.zeros((9, 9), np.int32)
    assert {len(column) for column in measure(empty, pixel_nm=1.0).values()} == {0}
    assert {len(column) for column in measure_wires(empty, pixel_nm=1.0).values()} == {0}
    assert measure_network(empty, pixel_nm=1.0).junctions == 0
    sizes = describe_sizes(np.empty(0), weights=np.empty(0))
    assert sizes.count == 0
    assert sizes.d50_nm is None


def test_what_the_border_keeps_out_is_corrected_for() -> None:
    """Of discs all over a plane, the weighted ones in a window have the population's sizes and density."""
    height, width, beyond, count = 120, 160, 32, 600
    tables = []
    for (row, column), radius in itertools.product(Halton(2, scramble=False).random(count), (6.3, 28.3)):
        labels = np.zeros((height, width), np.uint8)
        centre = row * (height + 2 * beyond) - beyond, column * (width + 2 * beyond) - beyond
        labels[disk(centre, radius, shape=labels.shape)] = 1
        tables.append(measure(labels, pixel_nm=1.0))
    diameter, weight, touches = (
        np.concatenate([table[name] for table in tables]) for name in ("diameter_nm", "weight", "touches_border")
    )
    assert ((weight == 0) == (touches == 1)).all()
    large = diameter > 30
    assert (large & (weight > 0)).sum() / (weight > 0).sum() < 0.4
    assert weight[large].sum() / weight.sum() == pytest.approx(0.5, abs=0.02)
    # What the weights add up to is how many there are in an area of the window's size.
    expected = 2 * count * height * width / ((height + 2 * beyond) * (width + 2 * beyond))
    assert weight.sum() == pytest.approx(expected, rel=0.02)


def test_a_lognormal_population_is_recognised() -> None:
    """Median, sigma and Kolmogorov's distance of a log-normal sample are scipy's."""
    x = lognorm(0.4, scale=120).rvs(4000, random_state=np.random.default_rng(1))
    sizes = describe_sizes(x, weights=np.full(len(x), 0.7))
    assert sizes.count == 4000
    sigma, _, median = lognorm.fit(x, floc=0)
    assert sizes.lognormal_median_nm == pytest.approx(median, rel=1e-3)
    assert sizes.lognormal_sigma == pytest.approx(sigma, rel=1e-3)
    expected = kstest(np.log(x), "norm", (np.log(sizes.lognormal_median_nm), sizes.lognormal_sigma)).statistic
    assert sizes.lognormal_distance == pytest.approx(expected)
    assert sizes.mean_nm == pytest.approx(x.mean())
    assert sizes.deviation_nm == pytest.approx(x.std())


@given(x=arrays(np.float64, 7, elements=st.floats(1, 100)), times=arrays(np.int64, 7, elements=st.integers(1, 5)))
def test_quantiles_are_numpys(x: np.ndarray, times: np.ndarray) -> None:
    """With equal weights quantiles are numpy's of Hazen's kind, whatever the weight is."""
    shares = np.array([0.1, 0.5, 0.9])
    got = quantiles(x, shares, weights=np.full(7, float(times[0])))
    np.testing.assert_allclose(got, np.quantile(x, shares, method="hazen"))
    heavier = quantiles(np.array([1.0, 2.0]), np.array([0.5]), weights=np.array([1.0, float(times[1])]))
    assert 1.5 <= heavier[0] < 2


@pytest.mark.parametrize("degrees", [0, 13, 30, 45, 78])
def test_a_wire_has_its_length_and_diameter(degrees: float) -> None:
    """A straight wire in any direction measures within 4 %, and has no junction."""
    labels = _rectangle(200, 12, degrees)
    table = measure_wires(labels, pixel_nm=5.0)
    assert set(table) == set(WIRE_COLUMNS)
    assert table["wire_length_nm"][0] == pytest.approx(1000, rel=0.04)
    assert table["wire_diameter_nm"][0] == pytest.approx(60, rel=0.09)
    network = measure_network(labels, pixel_nm=5.0)
    assert network.junctions == 0
    assert network.length_nm == pytest.approx(1000, rel=0.2)


def test_crossings_are_counted_once() -> None:
    """Two wires that cross, at a right or a smaller angle, make one junction; a wire beside them makes none."""
    for degrees in (90, 55):
        labels = np.maximum(_rectangle(200, 10, 0), 2 * _rectangle(200, 10, degrees))
        assert measure_network(labels, pixel_nm=1.0).junctions == 1
    beside = _rectangle(200, 10, 0) + 2 * np.roll(_rectangle(200, 10, 0), 40, axis=0)
    assert measure_network(beside, pixel_nm=1.0).junctions == 0


def test_wires_of_any_form_are_measured() -> None:
    """A speck, a ring and a picture that is all wire have a length and a diameter over 0."""
    y, x = np.mgrid[:60, :60]
    ring = (np.abs(np.hypot(y - 30, x - 30) - 20) < 4).astype(int)
    for labels in (np.eye(1, dtype=int), np.ones((7, 9), int), ring):
        table = measure_wires(labels, pixel_nm=1.0)
        assert table["wire_length_nm"][0] > 0
        assert table["wire_diameter_nm"][0] > 0
        measure_network(labels, pixel_nm=1.0)
