"""What the four distances see, what they do not, and their floor."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rich.console
import scipy.ndimage
import scipy.stats

from nanostream.errors import PictureError
from nanostream.gan.realism import Realism, compare, describe, distances, measure
from nanostream.gan.realism_curves import DISTANCES, NOISE_LEVELS, levels, tiles

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

SIZE = 256
GROUND, BRIGHT, NOISE = 30.0, 130.0, 4.0


def pictures(
    count: int, *, seed: int, bright: float = BRIGHT, noise: float = NOISE, rim: float = 0.0, blur: float = 1.0
) -> list[npt.NDArray[np.uint8]]:
    """Discs on ground, with a rim, blur and noise, in levels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    made = []
    for _ in range(count):
        clean = np.full((SIZE, SIZE), GROUND)
        for row, column, radius in rng.uniform((0, 0, 10), (SIZE, SIZE, 25), (12, 3)):
            depth = radius - np.hypot(y - row, x - column)
            clean = np.where(depth > 0, bright + rim * (depth < 4), clean)
        noisy = scipy.ndimage.gaussian_filter(clean, blur) + noise * rng.standard_normal(clean.shape)
        made.append(noisy.round().clip(0, 255).astype(np.uint8))
    return made


REAL = describe(pictures(12, seed=0))


def against(**changes: float) -> Realism:
    """What pictures of other settings measure."""
    return compare(REAL, describe(pictures(24, seed=1, **changes)))


def ratios(realism: Realism) -> dict[str, float]:
    """Value over floor of each measure."""
    return {name: each.ratio for name, each in realism.measures.items()}


def test_the_same_kind_of_picture_is_within_the_floor() -> None:
    """Pictures made as the real ones were, with other random numbers, are about as near as two halves of these."""
    realism = against()
    assert max(ratios(realism).values()) < 1.5
    assert realism.score < 1


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"bright": 190.0}, "grey"),
        ({"noise": 9.0}, "noise"),
        ({"rim": 70.0}, "edges"),
        ({"blur": 2.5}, "spectrum"),
    ],
)
def test_each_measure_sees_what_it_is_for(changes: dict[str, float], seen: str) -> None:
    """Brightness, noise, rims and blur each take their measure to several floors, and the score up."""
    realism = against(**changes)
    assert ratios(realism)[seen] > 3
    assert realism.score > against().score


def test_edges_do_not_see_brightness() -> None:
    """Twice the contrast leaves the profile in percent of the contrast as it was."""
    assert ratios(against(bright=GROUND + 2 * (BRIGHT - GROUND), noise=2 * NOISE))["edges"] < 1.5


def test_grey_is_the_distance_of_wasserstein() -> None:
    """The grey measure is SciPy's Wasserstein-1 distance of all pixels."""
    one, other = pictures(2, seed=3), pictures(3, seed=4, bright=100)
    got = distances(describe(one).means(), describe(other).means())["grey"]
    assert got == pytest.approx(scipy.stats.wasserstein_distance(np.ravel(one), np.ravel(other)), rel=1e-9)


def test_noise_is_the_deviation_at_each_level() -> None:
    """White noise of a deviation that grows with the level is found again, beside edges."""
    ramp = np.repeat(np.repeat(np.arange(16), 16)[None] * 12 + 40.0, 256, axis=0)
    rng = np.random.default_rng(0)
    noisy = ramp + (1 + ramp / 50) * rng.standard_normal(ramp.shape)
    means = describe([noisy.clip(0, 255) / 255]).means()
    known = ~np.isnan(means.noise)
    assert known.sum() > 20
    np.testing.assert_allclose(means.noise[known], 1 + NOISE_LEVELS[known] / 50, rtol=0.15)


def test_noise_of_white_noise_is_flat_in_the_spectrum() -> None:
    """Each frequency of white noise of variance s^2 has the power s^2 times the window's mean square."""
    noise = 128 + 5 * np.random.default_rng(0).standard_normal((1024, 1024))
    spectrum = describe([(noise / 255).clip(0, 1)]).means().spectrum
    expected = 10 * np.log10(25 * np.mean(np.outer(np.hanning(256), np.hanning(256)) ** 2))
    # The mean of a logarithm is below the logarithm of the mean where few frequencies share a ring.
    np.testing.assert_allclose(spectrum[10:], expected, atol=0.6)


def test_edges_run_from_ground_to_particle() -> None:
    """Without rims the profile is 0 on the ground and 100 inside, and crosses the middle at the outline."""
    profile = REAL.means().edges
    np.testing.assert_allclose(profile[DISTANCES < -6], 0, atol=3)
    np.testing.assert_allclose(profile[DISTANCES > 6], 100, atol=5)
    assert profile[DISTANCES == -2][0] < 50 < profile[DISTANCES == 1][0]


def test_pictures_without_particles_have_no_outline() -> None:
    """Noise alone is not parted into particles and ground, so a collapse to empty pictures shows in the edges."""
    empty = [np.full((SIZE, SIZE), 60) + k for k in range(4)]
    rng = np.random.default_rng(0)
    noisy = [(each + 5 * rng.standard_normal(each.shape)).astype(np.uint8) for each in empty]
    curves = describe(noisy)
    assert not curves.edge_px.any()
    assert ratios(compare(REAL, curves))["edges"] > 5


def test_formats_and_sizes_do_not_matter() -> None:
    """8 bits, 16 bits and shares of 1 measure alike, and so do four pictures laid side by side."""
    made = pictures(4, seed=5)
    whole = describe([np.block([[made[0], made[1]], [made[2], made[3]]])]).means()
    wanted = describe(made).means()
    for got in (
        describe([each.astype(np.uint16) * 257 for each in made]).means(),
        describe([each / 255 for each in made]).means(),
        whole,
    ):
        for name in ("grey", "spectrum", "edges", "noise"):
            np.testing.assert_allclose(getattr(got, name), getattr(wanted, name), rtol=1e-3, atol=1e-3)


def test_tiles_cover_the_picture() -> None:
    """Tiles are spread from one border to the other, as many as fit."""
    picture = np.arange(704 * 1024, dtype=np.float32).reshape(704, 1024)
    cut = list(tiles(picture, 256))
    assert len(cut) == 8
    assert (cut[0][0, 0], cut[-1][-1, -1]) == (picture[0, 0], picture[-1, -1])


def test_the_seed_decides() -> None:
    """The same seed gives the same floor where not all halvings are tried."""
    other = describe(pictures(6, seed=6))
    one, two, three = (compare(REAL, other, seed=seed).as_dict() for seed in (1, 1, 2))
    assert one == two
    assert one["grey"]["floor"] != three["grey"]["floor"]
    assert one["grey"]["value"] == three["grey"]["value"]


def test_copies_of_one_picture() -> None:
    """Where the real pictures are the same, nothing parts them, and the score says that all else is far off."""
    realism = compare(describe(pictures(1, seed=0) * 2), describe(pictures(2, seed=1)))
    assert realism.grey.floor == 0
    assert np.isfinite(realism.score)
    assert realism.score > 100


def test_plain_numbers_and_a_table() -> None:
    """`as_dict` survives JSON and `table` prints each measure with its floor."""
    realism = measure(pictures(3, seed=7), pictures(2, seed=8), two_sample=False)
    back = json.loads(json.dumps(realism.as_dict()))
    assert back["grey"]["value"] == realism.grey.value
    assert (back["real_pictures"], back["rendered_pictures"], back["tile_px"]) == (3, 2, SIZE)
    assert "two_sample" not in back
    console = rich.console.Console(width=120, file=io.StringIO(), record=True)
    console.print(realism.table(title="Realism"))
    text = console.export_text()
    assert all(word in text for word in ("Realism", "floor", "Grey levels", "Power spectra", "Edge", "Noise"))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: measure([np.zeros((256, 256), np.uint8)], pictures(2, seed=0), two_sample=False), "two real"),
        (lambda: measure(pictures(2, seed=0), [np.zeros((100, 256), np.uint8)], two_sample=False), "edge of 100"),
        (lambda: describe([]), "got none"),
        (lambda: describe([np.zeros((100, 100), np.uint8)]), "256x256"),
        (lambda: levels(np.zeros((8, 8, 3), np.uint8)), r"\(8, 8, 3\)"),
        (lambda: levels(np.zeros((8, 8), np.int32)), "int32"),
        (lambda: levels(np.full((8, 8), 3.0)), "3 to 3"),
        (lambda: levels(np.full((8, 8), np.nan)), "nan"),
    ],
)
def test_what_cannot_be_measured_is_refused(call: Callable[[], object], words: str) -> None:
    """One picture, small pictures, none, colours, signed numbers, levels over 1 and NaN are each a sentence."""
    with pytest.raises(PictureError, match=words):
        call()
