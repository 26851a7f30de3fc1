"""The network that tells real from rendered: chance on the same pictures, certainty on others."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch

from nanostream.errors import PictureError
from nanostream.gan.realism import measure
from nanostream.gan.realism_two_sample import accuracies


def grain(count: int, *, seed: int, blur: float = 1.5) -> list[np.ndarray]:
    """Pictures of blurred noise with one brightness and contrast."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        field = scipy.ndimage.gaussian_filter(rng.standard_normal((192, 192)), blur)
        made.append((128 + 30 * field / field.std()).clip(0, 255).astype(np.uint8))
    return made


@pytest.mark.slow
def test_the_same_are_not_told_apart_and_others_are() -> None:
    """Unseen pictures of the same kind are told at chance; of another grain, at equal brightness, nearly always."""
    same = accuracies(grain(8, seed=0), grain(8, seed=1), seed=0, splits=2, steps=80)
    other = accuracies(grain(8, seed=0), grain(8, seed=1, blur=1.9), seed=0, splits=2, steps=80)
    assert abs(same.mean() - 0.5) < 0.2
    assert other.mean() > 0.9


def test_the_seed_decides_and_leaves_torch_alone() -> None:
    """The same seed gives the same accuracies, another one others, and torch's own generator is not moved."""
    one, other = grain(4, seed=0), grain(4, seed=1)
    before = torch.get_rng_state()
    first, again, third = (accuracies(one, other, seed=seed, splits=1, steps=6) for seed in (1, 1, 2))
    assert (torch.get_rng_state() == before).all()
    assert first == again
    assert first.shape == third.shape == (1,)


def test_few_real_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two large pictures the halves are told apart as four; small ones are refused with a sentence."""
    monkeypatch.setattr("nanostream.gan.realism_two_sample._STEPS", 2)
    large = [np.hstack(grain(2, seed=seed)) for seed in (0, 1)]
    rendered = grain(4, seed=2)
    realism = measure(large, rendered)
    assert realism.two_sample is not None
    assert 0 <= realism.two_sample.value <= 1
    assert 0 <= realism.two_sample.floor <= 1
    with pytest.raises(PictureError, match="at least 4 real pictures"):
        measure(grain(2, seed=0), rendered)
