"""The study's script in a tiny form, so that its long form runs."""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from nanostream.recipe import Recipe
from nanostream.segment.model import Model, save_model
from nanostream.segment.network import NetworkConfig

if TYPE_CHECKING:
    import pathlib

SETTINGS = ["--set", "picture.height=128", "--set", "picture.width=128"]


@pytest.fixture
def script(repository: pathlib.Path) -> Any:
    """The script as a module."""
    name = "segmentation_benchmark"
    spec = importlib.util.spec_from_file_location(name, repository / "benchmarks" / "segmentation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[name]


def _pictures(folder: pathlib.Path) -> pathlib.Path:
    """One annotated picture."""
    mask = np.zeros((96, 96), np.uint8)
    mask[20:50, 30:70] = 255
    image = (mask // 2 + np.random.default_rng(0).integers(20, 60, mask.shape)).astype(np.uint8)
    for part, pixels in (("images", image), ("masks", mask)):
        (folder / part).mkdir(parents=True)
        Image.fromarray(pixels).save(folder / part / "a.png")
    return folder


def test_the_study_runs_and_goes_on(
    script: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Arms give a line each with the difference to fresh samples; what is there already is not run again."""
    monkeypatch.setattr(script, "ARMS", (*script.ARMS, "fixed-6"))
    # Two trainings of one process each; the arms differ in what they are fed with.
    monkeypatch.setattr(
        script, "train_on_recipe", lambda recipe, config, **words: _local(script, recipe, config, **words)
    )
    words = ["study", "--evaluate", str(_pictures(tmp_path / "pictures")), "-o", str(tmp_path / "study.json")]
    words += ["--steps", "1", "--workers", "1", *SETTINGS]
    script.main([*words, "--seeds", "1", "--arms", "fresh", "fixed-6"])
    runs = json.loads((tmp_path / "study.json").read_text())["runs"]
    assert set(runs) == {"fresh 0", "fixed-6 0"}
    capsys.readouterr()
    script.main([*words, "--seeds", "1", "--arms", "fresh", "fixed-6", "otsu"])
    out = capsys.readouterr().out
    assert "fresh 0:" not in out
    assert [line.split("|")[1].strip() for line in out.splitlines() if line.startswith("| ")] == [
        "arm",
        "fresh",
        "fixed-6",
        "otsu",
    ]
    with pytest.raises(SystemExit, match="another study"):
        script.main([*words[:-4], "--steps", "2", "--arms", "otsu"])


def _local(script: Any, recipe: Recipe, config: Any, **words: Any) -> Any:
    from nanostream.segment.run import train_on_recipe

    return train_on_recipe(recipe, config, **words | {"engine": "local"})


def test_arms_change_what_they_say(script: Any) -> None:
    """Every arm is a recipe that validates; sizes are off by 30 %, and textures hold no more than they are called."""
    recipe = Recipe.preset("tio2-sem")
    arms = {arm: script.varied(recipe, arm) for arm in ("fresh", "imported", "flat", "sizes-30", "sizes+30")}
    assert arms["fresh"].hash == recipe.hash
    assert len({each.hash for each in arms.values()}) == 5
    assert arms["sizes+30"].scene.sizes.median_nm == pytest.approx(1.3 * recipe.scene.sizes.median_nm)
    assert arms["sizes-30"].scene.sizes.max_nm == pytest.approx(0.7 * recipe.scene.sizes.max_nm)
    assert arms["flat"].texture.particle.sheen.mean == 0
    assert arms["imported"].texture.ground.relief.ridge.mean == 0


def test_a_set_that_does_not_come_round_is_a_stream(script: Any, tmp_path: pathlib.Path) -> None:
    """2,000 steps take 3,216 samples: a set of 10,000 is trained on as fresh samples are, one of 1,000 is not."""
    study = script.Study(evaluate=tmp_path, steps=2000)
    same = {arm: study._same_as(arm) for arm in ("fixed-1000", "fixed-10000", "fresh", "flat")}
    assert same == {"fixed-1000": "fixed-1000", "fixed-10000": "fresh", "fresh": "fresh", "flat": "flat"}


def test_a_fixed_set_comes_round(script: Any) -> None:
    """Each time round, every sample of a fixed set comes once, in another order."""
    recipe = Recipe.preset("tio2-sem").replaced("picture.height=32", "picture.width=32")
    batches = script.fixed(recipe, count=6, seed=3, workers=1)
    rounds = []
    for _ in range(2):
        images = [image for _ in range(2) for image in next(batches)["image"]]
        rounds.append([image.numpy().tobytes() for image in images])
    assert len(set(rounds[0])) == 6
    assert set(rounds[0]) == set(rounds[1])


def test_one_picture_is_measured(script: Any, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Seconds, particles and memory of a picture are printed."""
    model = save_model(Model.fresh(NetworkConfig(channels=(4, 8), strides=(2,), residual_units=1)), tmp_path / "model")
    script.main(["picture", "--model", str(model), "--height", "96", "--width", "128", "--repeats", "1"])
    out = capsys.readouterr().out
    assert "128 x 96: median" in out
    assert "peak" in out
