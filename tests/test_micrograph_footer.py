"""The data bar below a picture: found where there is one, and nothing cut where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from nanostream.micrograph import read_micrographs
from nanostream.micrograph.footer import footer_rows
from nanostream.recipe import Recipe
from nanostream.synth import Synth

if TYPE_CHECKING:
    import pathlib

PRESETS = ("agnw-sem", "sio2-him", "tio2-him", "tio2-sem")


def ground(height: int = 200, width: int = 240, dtype: type = np.uint8) -> np.ndarray:
    """Dark ground with noise of two levels, as flat as an InLens detector's."""
    levels = 40 + 2 * np.random.default_rng(0).standard_normal((height, width))
    return levels.round().astype(dtype)


def written(picture: np.ndarray, rows: int, *, bar: int, ink: int) -> np.ndarray:
    """The picture with a bar over its lowest rows, words in it and lines between its cells."""
    picture = picture.copy()
    picture[-rows:] = bar
    rng = np.random.default_rng(1)
    for top in range(len(picture) - rows + 4, len(picture) - 6, 10):
        picture[top : top + 6, 10:180] = np.where(rng.random((6, 170)) < 0.4, ink, bar)
    picture[-rows:, ::60] = ink
    return picture


@pytest.mark.parametrize(("bar", "ink"), [(0, 255), (255, 0), (0, 128)])
@pytest.mark.parametrize("rows", [16, 40, 50])
def test_bars_of_each_kind_are_found(bar: int, ink: int, rows: int) -> None:
    """Black and white bars with writing and cells are found to the row."""
    assert footer_rows(written(ground(), rows, bar=bar, ink=ink)) == rows


def test_a_frame_belongs_to_the_bar() -> None:
    """A white line above a black bar is cut with it."""
    picture = written(ground(), 30, bar=0, ink=255)
    picture[-32:-30] = 255
    assert footer_rows(picture) == 32


def test_sixteen_bits() -> None:
    """A bar in a 16-bit picture is found as in one of 8 bits."""
    assert footer_rows(written(ground(dtype=np.uint16) * 257, 30, bar=0, ink=65535)) == 30


def test_dark_skies_are_no_bar() -> None:
    """Black that begins gradually, black pictures and saturated ones are kept."""
    fading = ground()
    for row in range(120, 200):
        fading[row, : (row - 120) * 6] = 0
    assert footer_rows(fading) == 0
    assert footer_rows(np.zeros((100, 120), np.uint8)) == 0
    assert footer_rows(np.full((100, 120), 255, np.uint8)) == 0
    assert footer_rows(ground(3, 40)) == 0


def test_each_micrograph_has_its_footer(shared_data: pathlib.Path) -> None:
    """The 28 published micrographs have 56 rows of footer, as their source says."""
    folder = shared_data / "bam_tio2_sem"
    pictures = read_micrographs(folder / "unannotated") + read_micrographs(folder / "validation" / "images")
    assert len(pictures) == 28
    assert {(each.footer_rows, each.pixels.shape) for each in pictures} == {(56, (712, 1024))}
    # What was cut off stays off: the part that is left has no footer.
    assert not any(footer_rows(each.pixels) for each in pictures)


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_rendered_pictures_have_none(preset: str) -> None:
    """Nothing is cut from samples of any preset."""
    synth = Synth(Recipe.preset(preset))
    assert [footer_rows(synth.render(seed=0, index=index).image) for index in range(24)] == [0] * 24
