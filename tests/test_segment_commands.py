"""A recipe into a training, and the folder and the commands around it."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from nanostream.cli import app
from nanostream.recipe import Recipe
from nanostream.segment import run, scalars
from nanostream.segment.demo import write_demo
from nanostream.segment.labels import components, remove_small
from nanostream.segment.live import LiveLine
from nanostream.segment.model import load_model, save_model
from nanostream.segment.network import NetworkConfig
from nanostream.segment.pictures import SMALLEST_PX
from nanostream.segment.run import train_on_recipe
from nanostream.segment.training import TrainingConfig
from nanostream.synth import Synth

if TYPE_CHECKING:
    import pathlib

    import pytest

    from nanostream.segment.progress import Progress

scalars_class = scalars.Scalars


def test_a_recipe_is_trained_on_and_shown(tmp_path: pathlib.Path) -> None:
    """A short training on rendered samples leaves three files and a model that names its recipe."""
    recipe = Recipe.preset("tio2-sem").replaced("picture.height=64", "picture.width=64")
    network = NetworkConfig(channels=(8, 16, 32), strides=(2, 2), residual_units=1)
    config = TrainingConfig(steps=3, batch=4, crop_px=32, start=4, threads=1, network=network)
    done = train_on_recipe(recipe, config, engine="local", fresh=5)
    assert [int(picture.name) for picture in done.fresh] == list(range(8, 13))
    write_demo(done, tmp_path / "demo")
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == [
        "predictions.png",
        "results.json",
        "samples.png",
    ]
    results = json.loads((tmp_path / "demo" / "results.json").read_text())
    assert results["training"]["steps"] == 3
    assert results["fresh_samples"]["pictures"] == 5
    again = load_model(save_model(done.model, tmp_path / "model"))
    assert again.about["recipe"] == {"name": recipe.name, "hash": recipe.hash, "shape": "grain", "pixel_nm": 7.344}


def test_a_wire_that_crosses_under_another_is_two() -> None:
    """Fresh samples are scored by what is seen, as annotated pictures are: each instance is one region."""
    recipe = Recipe.preset("agnw-sem").replaced("picture.height=128", "picture.width=128")
    network = NetworkConfig(channels=(8, 16), strides=(2,), residual_units=1)
    config = TrainingConfig(steps=1, batch=2, crop_px=32, start=4, threads=1, network=network)
    done = train_on_recipe(recipe, config, engine="local", fresh=8)
    wires = pieces = 0
    for picture in done.fresh:
        labels = picture.labels
        assert components(labels).max() == labels.max()
        pieces += labels.max()
        mask = Synth(recipe).render(seed=0, index=int(picture.name)).mask
        wires += remove_small(mask, smallest_px=SMALLEST_PX).max()
    assert pieces > wires


def test_what_is_wrong_is_said_before_the_training(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that exists, a folder without masks and an unknown preset end with code 1 at once."""
    model = tmp_path / "model.safetensors"
    model.touch()
    for words, said in (
        (["tio2-sem", "-o", str(model)], "--overwrite"),
        (["tio2-sem", "-o", str(tmp_path / "new"), "--evaluate", str(tmp_path)], "images/"),
        (["tio2-sen"], "tio2-sem"),
    ):
        assert app.main(["train", *words]) == 1
        assert said in capsys.readouterr().err
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "images" / "a.png")
    assert app.main(["train", "tio2-sem", "-o", str(tmp_path / "new"), "--evaluate", str(tmp_path)]) == 1
    assert "found none" in capsys.readouterr().err


def _annotated(folder: pathlib.Path) -> pathlib.Path:
    """An evaluation set of one picture."""
    mask = np.zeros((96, 96), np.uint8)
    mask[20:50, 30:70] = 255
    image = (mask // 2 + np.random.default_rng(0).integers(20, 60, mask.shape)).astype(np.uint8)
    for part, pixels in (("images", image), ("masks", mask)):
        (folder / part).mkdir(parents=True)
        Image.fromarray(pixels).save(folder / part / "a.png")
    return folder


def test_a_training_that_was_stopped_goes_on(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command again goes on, evaluates while it trains, writes the model and leaves no state behind."""
    monkeypatch.setattr(run, "train_on_recipe", functools.partial(train_on_recipe, engine="local", fresh=4))
    curves: list[tuple[str, int]] = []
    monkeypatch.setattr(scalars, "EVERY_STEPS", 1)
    monkeypatch.setattr(scalars, "Scalars", functools.partial(_recorded, curves))
    model = tmp_path / "model.safetensors"
    words = ["train", "tio2-sem", "-o", str(model), "--steps", "4", "--width", "4", "--checkpoint-minutes", "0"]
    words += ["--set", "picture.height=128", "--set", "picture.width=128"]
    words += ["--evaluate", str(_annotated(tmp_path / "pictures")), "--evaluate-minutes", "0"]

    def stop(live: LiveLine, progress: Progress) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LiveLine, "__call__", stop)
        assert app.main(words) == 130
    assert not model.exists()
    assert (tmp_path / "model.training").exists()
    assert app.main(words) == 0
    said = capsys.readouterr()
    assert "Going on" in said.err
    assert "After 0.0 minutes: Dice" in said.err
    assert "Trained 4 steps" in said.out
    assert load_model(model).about["scores"]["pictures"] == 1
    assert not (tmp_path / "model.training").exists()
    assert ("training/loss", 4) in curves
    assert ("evaluation/dice", 4) in curves


def _recorded(curves: list[tuple[str, int]], folder: pathlib.Path) -> scalars.Scalars:
    """Curves for a TensorBoard that only remembers."""
    made = scalars_class(folder)
    made._writer = type(
        "Writer",
        (),
        {"add_scalar": lambda _, name, value, step: curves.append((name, step)), "close": lambda _: None},
    )()
    return made
