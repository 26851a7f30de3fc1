"""`nanostream preview --against`: a recipe beside a user's own pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from nanostream.cli import app
from nanostream.recipe import Recipe
from nanostream.synth import Synth

if TYPE_CHECKING:
    import pathlib

SMALL = ("--set", "picture.height=128", "--set", "picture.width=128")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Two pictures of 256x256 with a footer and a pixel size, rendered."""
    folder = tmp_path_factory.mktemp("pictures")
    synth = Synth(Recipe.preset("tio2-sem"))
    for index in range(2):
        bar = np.zeros((20, 256), np.uint8)
        bar[8:12, 30:90] = 255
        pixels = np.vstack([np.maximum(synth.render(seed=9, index=index).image, 3), bar])
        path = folder / f"{index}.tif"
        tifffile.imwrite(path, pixels, imagej=True, resolution=(0.1, 0.1), metadata={"unit": "nm"})
    return folder


def preview(*words: str) -> int:
    """Exit code of the command."""
    return app.main(["preview", "tio2-sem", *words])


def test_a_table_is_printed(folder: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each distance has its floor; the footer and another pixel size are said; the sheet is drawn all the same."""
    out = tmp_path / "sheet.png"
    words = ["-o", str(out), "-n", "2", "--against", str(folder), "--measured", "3", "--fast", *SMALL]
    assert preview(*words) == 0
    said = capsys.readouterr()
    for word in ("3 samples of", "Grey levels", "Power spectra", "Edge profiles", "Noise against signal", "floor"):
        assert word in said.out
    assert "network" not in said.out.split("The floor")[0]
    assert said.out.splitlines()[-1] == f"Drew 2 samples of tio2-sem with their masks in {out}."
    assert "20 rows cut off below: a footer" in said.err
    assert "10 nm a pixel, the recipe 7.344" in said.err
    assert out.stat().st_size > 1000


def test_what_cannot_be_compared_is_said_at_once(
    folder: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A small recipe, an empty folder and a single picture are each one sentence before anything is rendered."""
    out = str(tmp_path / "sheet.png")
    one = tmp_path / "one"
    one.mkdir()
    assert preview("-o", out, "--against", str(one)) == 1
    assert "found none" in capsys.readouterr().err
    (one / "a.tif").write_bytes((folder / "0.tif").read_bytes())
    assert preview("-o", out, "--against", str(one)) == 1
    assert "at least 2 pictures" in capsys.readouterr().err
    assert preview("-o", out, "--against", str(folder), "--set", "picture.height=64") == 1
    assert "raise picture.height" in capsys.readouterr().err
    assert not (tmp_path / "sheet.png").exists()
