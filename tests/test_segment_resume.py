"""Trainings that are killed, and go on as if nothing had been."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from nanostream.errors import ModelError, StateError
from nanostream.recipe import Recipe
from nanostream.segment.network import NetworkConfig
from nanostream.segment.run import train_on_recipe
from nanostream.segment.state import TrainingState, load_state, save_state
from nanostream.segment.training import Pause, Training, TrainingConfig
from nanostream.segment.window import Augmentation, CropWindow

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

RECIPE = Recipe.preset("tio2-sem").replaced("picture.height=64", "picture.width=64")
NETWORK = NetworkConfig(channels=(4, 8), strides=(2,), residual_units=1)
CONFIG = TrainingConfig(
    steps=40, batch=4, crop_px=32, start=4, window=16, crops_per_sample=4, threads=1, network=NETWORK
)
SCRIPT = """
import pathlib, sys
from nanostream.segment.run import train_on_recipe
from tests_resume import CONFIG, RECIPE
train_on_recipe(
    RECIPE, CONFIG, engine="local", fresh=4, checkpoint=pathlib.Path(sys.argv[1]), checkpoint_seconds=0.0,
    on_progress=lambda progress: print(progress.step, flush=True),
)
"""


def _stream(start: int = 0) -> Iterator[dict[str, Any]]:
    """Batches of two noisy pictures with one square each, each its own and the same every time."""
    index = start
    while True:
        pictures, masks = [], []
        for k in (index, index + 1):
            rng = np.random.default_rng(k)
            mask = np.zeros((64, 64), np.int32)
            row, column = rng.integers(5, 40, 2)
            mask[row : row + 12, column : column + 14] = 1
            pictures.append((0.3 + 0.4 * mask + rng.normal(0, 0.05, mask.shape)).clip(0, 1).astype(np.float32))
            masks.append(mask)
        index += 2
        yield {
            "image": torch.from_numpy(np.stack(pictures))[:, None],
            "mask": torch.from_numpy(np.stack(masks)),
            "next_index": torch.tensor([index, index]),
        }


def test_a_state_holds_all_that_a_training_is(tmp_path: pathlib.Path) -> None:
    """A training that goes on from a file ends with the undisturbed one's weights, window, average and counts."""
    undisturbed = Training(_stream(), CONFIG)
    undisturbed.run()
    path = tmp_path / "state"

    def save(training: Training) -> None:
        if training.progress.step == 23:
            save_state(TrainingState.of(training, place={"next": int(training.window.behind["next_index"][0])}), path)

    Training(_stream(), CONFIG).run(pauses=[Pause(seconds=0.0, do=save)])
    state = load_state(path)
    again = Training(_stream(state.place["next"]), CONFIG, state=state)
    progress = again.run()
    assert progress.step == CONFIG.steps
    assert progress.samples == undisturbed.progress.samples
    assert progress.loss == undisturbed.progress.loss
    for mine, other in ((again.network, undisturbed.network), (again.averaged, undisturbed.averaged)):
        for name, value in other.state_dict().items():
            assert torch.equal(mine.state_dict()[name], value), name
    mine, other = again.window.state()[0], undisturbed.window.state()[0]
    assert all(torch.equal(mine[name], other[name]) for name in other)


def test_a_killed_training_ends_as_an_undisturbed_one(tmp_path: pathlib.Path) -> None:
    """After SIGKILL halfway the same training goes on behind the stream's place and ends with the same weights."""
    expected = train_on_recipe(RECIPE, CONFIG, engine="local", fresh=4)
    checkpoint = tmp_path / "model.training"
    (tmp_path / "tests_resume.py").write_text(
        "from nanostream.recipe import Recipe\n"
        "from nanostream.segment.network import NetworkConfig\n"
        "from nanostream.segment.training import TrainingConfig\n"
        f"RECIPE = Recipe.parse({RECIPE.dump()!r})\n"
        f"CONFIG = TrainingConfig(steps={CONFIG.steps}, batch=4, crop_px=32, start=4, window=16, crops_per_sample=4,"
        " threads=1, network=NetworkConfig(channels=(4, 8), strides=(2,), residual_units=1))\n"
    )
    words = [sys.executable, "-c", SCRIPT, str(checkpoint)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 20:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    saved = load_state(checkpoint)
    assert 0 < saved.progress.step <= 20
    steps: list[int] = []
    got = train_on_recipe(
        RECIPE,
        CONFIG,
        engine="local",
        fresh=4,
        checkpoint=checkpoint,
        on_progress=lambda progress: steps.append(progress.step),
    )
    assert steps[0] == saved.progress.step + 1
    assert got.progress.samples == expected.progress.samples
    assert [picture.name for picture in got.fresh] == [picture.name for picture in expected.fresh]
    for name, value in expected.model.network.state_dict().items():
        assert torch.equal(got.model.network.state_dict()[name], value), name


def test_another_training_s_state_is_refused(tmp_path: pathlib.Path) -> None:
    """Other settings, another recipe and other files are each named instead of being gone on with."""
    path = tmp_path / "model.training"
    keep = Pause(seconds=0.0, do=lambda training: save_state(TrainingState.of(training, place={}), path))
    Training(_stream(), CONFIG).run(pauses=[keep])
    with pytest.raises(ModelError, match="learning_rate"):
        train_on_recipe(RECIPE, dataclasses.replace(CONFIG, learning_rate=1.0), engine="local", checkpoint=path)
    with pytest.raises(StateError):
        train_on_recipe(RECIPE, CONFIG, engine="local", checkpoint=path)
    path.write_bytes(b"no state")
    with pytest.raises(ModelError, match="--overwrite"):
        load_state(path)
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, path, metadata={"nanostream": json.dumps({"kind": "other"})})
    with pytest.raises(ModelError, match="'other'"):
        load_state(path)


def test_a_window_goes_on_where_it_stood() -> None:
    """A restored window draws the crops that the first one draws next."""
    settings: dict[str, Any] = {
        "size": 8, "start": 4, "crops_per_sample": 4, "contour_px": 1, "augmentation": Augmentation()
    }  # fmt: skip
    first = CropWindow(_stream(), rng=np.random.default_rng(1), **settings)
    first.draw(count=10, crop_px=32)
    tensors, values = first.state()
    values = json.loads(json.dumps(values))
    tensors = {name: value.clone() for name, value in tensors.items()}
    second = CropWindow(_stream(int(first.behind["next_index"][0])), rng=np.random.default_rng(2), **settings)
    second.restore(tensors, values)
    for _ in range(5):
        mine, other = first.draw(count=6, crop_px=32), second.draw(count=6, crop_px=32)
        for field in dataclasses.fields(mine):
            assert torch.equal(getattr(mine, field.name), getattr(other, field.name))


def test_pauses_are_no_training_time() -> None:
    """What happens in a pause happens every so often, and does not count as time of training."""
    seen: list[int] = []
    progress = Training(_stream(), dataclasses.replace(CONFIG, steps=6)).run(
        pauses=[Pause(seconds=0.0, do=lambda training: seen.append(training.progress.step))]
    )
    assert seen == [1, 2, 3, 4, 5]
    assert progress.step == 6
