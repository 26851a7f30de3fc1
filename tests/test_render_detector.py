"""The detector's blur and noise are what its settings say."""

from __future__ import annotations

import numpy as np
import pytest

from nanostream.render.detector import Detector
from nanostream.texture.spread import Spread


def constant(value: float) -> Spread:
    """A setting that does not vary."""
    return Spread(mean=value)


@pytest.mark.parametrize("level", [0.2, 0.6])
def test_noise_grows_with_the_signal(level: float) -> None:
    """Variance is read-out noise squared plus shot noise times signal."""
    detector = Detector(shot_noise=constant(1e-3), read_noise=constant(0.01))
    image = detector.expose(np.full((256, 256), level, np.float32), np.random.default_rng(0))
    assert image.mean() / 255 == pytest.approx(level, abs=1e-3)
    assert image.std() / 255 == pytest.approx(np.sqrt(1e-3 * level + 1e-4), rel=0.02)


def test_noise_that_is_there_counts_towards_the_detectors() -> None:
    """A picture that comes with noise and an estimate of it leaves with the detector's noise, and no more.

    Two independent halves of a flat picture stand for a rendered one, behind blur, gain and gamma.
    """
    detector = Detector(
        blur_px=constant(0.8),
        gain=constant(0.5),
        gamma=constant(0.8),
        shot_noise=constant(5e-4),
        read_noise=constant(0.004),
    )
    rng = np.random.default_rng(1)
    first, second = 0.8 + 0.08 * rng.standard_normal((2, 400, 400), np.float32)
    clean = detector.expose(np.full((400, 400), 0.8, np.float32), np.random.default_rng(2))
    noisy = detector.expose((first + second) / 2, np.random.default_rng(2))
    counted = detector.expose((first + second) / 2, np.random.default_rng(2), error=(first - second) / 2)
    assert noisy.std() > 1.15 * clean.std()
    assert counted.std() == pytest.approx(clean.std(), rel=0.02)
    assert counted.mean() == pytest.approx(clean.mean(), rel=0.005)


def test_line_noise_is_shared_by_a_row() -> None:
    """Line noise moves whole rows and leaves no differences within them."""
    image = Detector(line_noise=constant(0.1)).expose(np.full((64, 64), 0.5, np.float32), np.random.default_rng(0))
    assert (image == image[:, :1]).all()
    assert image[:, 0].std() / 255 == pytest.approx(0.05, rel=0.3)


def test_blur_keeps_the_sum_and_spreads_a_point() -> None:
    """A bright point becomes a gaussian of the stated width and the same sum."""
    radiance = np.zeros((65, 65), np.float32)
    radiance[32, 32] = 6.0
    image = Detector(blur_px=constant(1.0)).expose(radiance, np.random.default_rng(0)).astype(float) / 255
    assert image.sum() == pytest.approx(6.0, rel=0.03)
    rows = np.arange(65) - 32
    # Truncation at three standard deviations and 8 bits take a little of the tails.
    assert np.sqrt((image.sum(1) * rows**2).sum() / image.sum()) == pytest.approx(1.0, rel=0.05)


def test_a_bright_picture_is_clipped_and_not_wrapped() -> None:
    """Beyond full scale every pixel is 255."""
    image = Detector(gain=constant(3.0)).expose(np.ones((8, 8), np.float32), np.random.default_rng(0))
    assert (image == 255).all()
