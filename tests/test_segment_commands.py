"""A recipe into a training, and the folder and the commands around it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from nanostream.cli import app
from nanostream.recipe import Recipe
from nanostream.segment.demo import write_demo
from nanostream.segment.model import load_model, save_model
from nanostream.segment.network import NetworkConfig
from nanostream.segment.run import train_on_recipe
from nanostream.segment.training import TrainingConfig

if TYPE_CHECKING:
    import pathlib

    import pytest


def test_a_recipe_is_trained_on_and_shown(tmp_path: pathlib.Path) -> None:
    """A short training on rendered samples leaves three files and a model that names its recipe."""
    recipe = Recipe.preset("tio2-sem").replaced("picture.height=64", "picture.width=64")
    network = NetworkConfig(channels=(8, 16, 32), strides=(2, 2), residual_units=1)
    config = TrainingConfig(steps=3, batch=4, crop_px=32, start=4, threads=1, network=network)
    run = train_on_recipe(recipe, config, engine="local", fresh=5)
    assert [int(picture.name) for picture in run.fresh] == list(range(8, 13))
    write_demo(run, tmp_path / "demo")
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == [
        "predictions.png",
        "results.json",
        "samples.png",
    ]
    results = json.loads((tmp_path / "demo" / "results.json").read_text())
    assert results["training"]["steps"] == 3
    assert results["fresh_samples"]["pictures"] == 5
    again = load_model(save_model(run.model, tmp_path / "model"))
    assert again.about["recipe"] == {"name": recipe.name, "hash": recipe.hash}


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
