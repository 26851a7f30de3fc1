"""A tiny training end to end: window, loss, network, instances, model file, sheets."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.torch import load_file, save_file

from nanostream.errors import ModelError, PictureError, StreamError
from nanostream.segment.contacts import part_contacts
from nanostream.segment.cores import share_cores
from nanostream.segment.crops import GAP, SEAM, Crops, pack, unpack
from nanostream.segment.evaluation import evaluate
from nanostream.segment.instances import WatershedConfig, instances
from nanostream.segment.live import LiveLine
from nanostream.segment.model import MODEL_VERSION, Model, load_model, save_model
from nanostream.segment.network import NetworkConfig
from nanostream.segment.pictures import AnnotatedPicture
from nanostream.segment.predict import predict, probabilities
from nanostream.segment.targets import CONTOUR
from nanostream.segment.training import TrainingConfig, schedule, train
from nanostream.segment.window import Augmentation, CropWindow
from nanostream.sheet import grey, overlay, save_sheet, sheet

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

MASKS = arrays(np.int32, (12, 12), elements=st.sampled_from([0, 0, 1, 2, 7]))
SMALL = NetworkConfig(channels=(8, 16, 32), strides=(2, 2), residual_units=1)
QUICK = TrainingConfig(
    steps=100, batch=8, crop_px=32, start=4, window=32, threads=1, learning_rate=1e-2, average=0.9, network=SMALL
)


def _discs(rng: np.random.Generator, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Bright discs on a dark ground: (H, W) float32 in [0, 1] and (H, W) int32."""
    y, x = np.mgrid[:size, :size]
    mask = np.zeros((size, size), np.int32)
    for label in range(1, 6):
        r, (cy, cx) = rng.uniform(6, 11), rng.uniform(0, size, 2)
        mask[(y - cy) ** 2 + (x - cx) ** 2 < r**2] = label
    image = np.where(mask > 0, 0.5 + 0.06 * mask, 0.2) + rng.normal(0, 0.03, mask.shape)
    return image.clip(0, 1).astype(np.float32), mask


def _stream(seed: int = 0) -> Iterator[dict[str, Any]]:
    """Batches of two, without end."""
    rng = np.random.default_rng(seed)
    while True:
        pairs = [_discs(rng) for _ in range(2)]
        yield {
            "image": torch.from_numpy(np.stack([image for image, _ in pairs]))[:, None],
            "mask": torch.from_numpy(np.stack([mask for _, mask in pairs])),
        }


def _window(**changes: Any) -> CropWindow:
    settings: dict[str, Any] = {
        "size": 8,
        "start": 4,
        "crops_per_sample": 4,
        "contour_px": 1,
        "augmentation": Augmentation(),
        "rng": np.random.default_rng(0),
    }
    return CropWindow(_stream(), **(settings | changes))


def test_touching_discs_are_parted() -> None:
    """Two discs whose contours meet become two instances, without losing a foreground pixel."""
    y, x = np.mgrid[:40, :60]
    left, right = np.hypot(y - 20, x - 19), np.hypot(y - 20, x - 40)
    radius = np.minimum(left, right)
    inside, contour = radius < 9, (radius >= 9) & (radius < 11.5)
    p = np.stack([~(inside | contour), inside, contour]).astype(np.float32)
    labels = instances(p, p[1] + p[2])
    assert np.unique(labels).tolist() == [0, 1, 2]
    assert ((labels > 0) == (inside | contour)).all()
    assert labels[20, 19] != labels[20, 40]


def test_thin_particles_without_an_inside_are_kept() -> None:
    """A region that is all contour becomes an instance of its own; specks are dropped."""
    p = np.zeros((3, 30, 40), np.float32)
    p[0] = 1.0
    p[:, 10:13, 5:35] = np.array([0, 0, 1], np.float32)[:, None, None]
    p[:, 20, 20] = np.array([0, 1, 0])
    assert instances(p, p[2]).max() == 1
    nothing = np.stack([np.ones((9, 9))] + [np.zeros((9, 9))] * 2).astype(np.float32)
    assert instances(nothing, nothing[0]).max() == 0


def test_pinholes_in_a_particle_are_filled() -> None:
    """A few pixels of background inside a particle are the particle's; the inside of a loop is not."""
    p = np.zeros((3, 40, 80), np.float32)
    p[0] = 1.0
    p[:, 5:35, 5:35] = p[:, 5:35, 45:75] = np.array([0, 1, 0], np.float32)[:, None, None]
    p[:, 15:17, 15:17] = p[:, 12:28, 52:68] = np.array([1, 0, 0], np.float32)[:, None, None]
    labels = instances(p, p[1])
    assert (labels[5:35, 5:35] == labels[10, 10]).all()
    assert (labels[12:28, 52:68] == 0).all()


def test_a_gap_is_drawn_where_one_is_seen() -> None:
    """Between a bright and a dark particle the darkest of the next two pixels is background; else labels touch.

    Without a contrast there is a gap all the same.
    """
    labels = np.zeros((12, 20), np.int32)
    labels[2:10, 2:10], labels[2:10, 10:18] = 1, 2
    image = np.where(labels == 1, 200, np.where(labels == 2, 120, 20)).astype(np.uint8)
    for transposed in (False, True):
        turn = np.transpose if transposed else np.asarray
        level = turn(np.where(labels > 0, 180, 20))
        assert (turn(part_contacts(turn(labels), level, contrast=0.26)) == labels).all()
        assert (turn(part_contacts(turn(labels), level))[2:10] == 0).sum(axis=1).tolist() == [5] * 8
        for gap in (10, 11):
            shaded = image.copy()
            shaded[2:10, 10:gap] = 160
            shaded[2:10, gap] = 60
            parted = turn(part_contacts(turn(labels), turn(shaded), contrast=0.26))
            assert (parted[2:10, gap] == 0).all()
            assert (parted[2:10, 2:gap] == 1).all()
            assert (parted[2:10, gap + 1 : 18] == 2).all()


def test_masks_are_parted_before_they_are_learned() -> None:
    """Between two particles that touch lies a pixel of background, and the contour on both sides of it is a seam."""
    mask = torch.zeros(1, 12, 20, dtype=torch.int32)
    mask[0, 2:10, 2:10], mask[0, 2:10, 10:18] = 1, 2
    codes = pack({"image": (mask > 0).float()[:, None], "mask": mask}, contour_px=1)["codes"][0]
    assert codes[5, 8:13].tolist() == [1, SEAM, GAP, SEAM, 1]
    assert codes[2, 4] == CONTOUR
    assert int((codes == GAP).sum()) == 8


def test_a_tiny_training_learns_discs(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A hundred small steps find discs never seen, and the model file predicts the same."""
    with LiveLine("training") as live:
        model, progress = train(_stream(), QUICK, on_progress=live)
    assert "waited" in capsys.readouterr().err
    assert progress.step == QUICK.steps
    assert progress.done == 1.0
    rng = np.random.default_rng(99)
    pictures = []
    for _ in range(8):
        image, mask = _discs(rng)
        pictures.append(AnnotatedPicture(name="disc", image=(image * 255).astype(np.uint8), labels=mask))
    scores = evaluate(model, pictures, smallest_px=20)
    assert scores.dice > 0.9
    assert scores.f1 > 0.3
    again = load_model(save_model(model, tmp_path / "model"))
    assert again.about == json.loads(json.dumps(model.about))
    for flips in (False, True):
        expected = probabilities(model, pictures[0].image, flips=flips)
        assert (probabilities(again, pictures[0].image, flips=flips) == expected).all()
        np.testing.assert_allclose(expected.sum(0), 1.0, atol=1e-5)


@pytest.mark.parametrize("seed", [1, 3])
def test_a_training_starts_whatever_its_seed(seed: int) -> None:
    """A hundred steps of the network as it comes: where its outputs are squeezed, these seeds end at 1.2 to 1.3."""
    config = TrainingConfig(seed=seed, steps=100, batch=8, crop_px=64, start=4, window=32, threads=1, average=0.9)
    losses: list[float] = []
    train(_stream(), config, on_progress=lambda progress: losses.append(progress.loss))
    assert np.mean(losses[-5:]) < 0.95


def test_a_number_of_steps_gives_the_same_weights_again() -> None:
    """With steps set, two trainings on the same stream and seed end with equal weights."""
    config = dataclasses.replace(QUICK, steps=5)
    first, second, other = (
        train(_stream(), dataclasses.replace(config, seed=seed))[0].network.state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_samples_are_taken_as_crops_are_drawn() -> None:
    """One sample is taken for every so many crops, after those to start with."""
    window = _window()
    crops = window.draw(count=8, crop_px=32)
    assert crops.images.shape == (8, 1, 32, 32)
    assert crops.codes.shape == crops.distance.shape == (8, 32, 32)
    assert crops.offset.shape == (8, 2, 32, 32)
    assert window.samples == 6
    for _ in range(10):
        window.draw(count=8, crop_px=32)
    assert window.samples == 26
    assert window.wait_seconds > 0


@given(mask=MASKS, turns=st.integers(0, 3), mirror=st.booleans())
def test_targets_turn_with_their_crop(mask: np.ndarray, turns: int, mirror: bool) -> None:  # noqa: FBT001
    """Targets of a turned and mirrored crop are the turned and mirrored mask's own targets.

    Particles are parted before: which of two equal ones loses a pixel to the gap is no matter of turning.
    """
    mask = part_contacts(mask, np.zeros_like(mask))

    def crop(mask: np.ndarray) -> Crops:
        labels = torch.from_numpy(mask.copy())[None]
        packed = pack({"image": torch.zeros(1, 1, 12, 12), "mask": labels}, contour_px=1)
        return unpack(packed, 0, row=0, column=0, crop_px=12, table=torch.zeros(256))

    turned = np.rot90(mask, turns)
    expected = crop(turned[:, ::-1] if mirror else turned)
    got = crop(mask).turned(turns, mirror=mirror)
    assert torch.equal(got.codes, expected.codes)
    assert torch.equal(got.distance, expected.distance)
    torch.testing.assert_close(got.offset, expected.offset, atol=0.51, rtol=0)


def test_a_stream_that_ends_or_is_too_small_is_an_error() -> None:
    """Finite streams and pictures smaller than a crop raise a StreamError."""
    with pytest.raises(StreamError, match="without end"):
        train([next(_stream())], QUICK)
    with pytest.raises(StreamError, match="128"):
        _window().draw(count=1, crop_px=128)


def test_settings_that_cannot_work_are_refused() -> None:
    """Zero steps, crops that the network cannot halve and strides that do not fit are refused."""
    with pytest.raises(ModelError, match="over 0"):
        TrainingConfig(steps=0)
    with pytest.raises(ModelError, match="multiple of 8"):
        TrainingConfig(crop_px=100)
    with pytest.raises(ModelError, match="one stride fewer"):
        NetworkConfig(strides=(2,))


def test_the_learning_rate_rises_and_falls() -> None:
    """The rate starts low, is highest after the warm-up and ends at 0."""
    rates = [schedule(done, 0.1) for done in np.linspace(0, 1, 101)]
    assert rates[0] < 0.05
    assert max(rates) == pytest.approx(rates[10]) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.0)


def test_every_core_has_work() -> None:
    """Render workers and threads of torch share the cores, and each gets one at least."""
    assert [share_cores(n) for n in (1, 2, 3, 8)] == [(1, 1), (1, 1), (1, 2), (4, 4)]


def test_gain_and_offset_do_not_matter() -> None:
    """A picture of twice the contrast, in 16 bits or as floats is the same to the network."""
    model = Model.fresh(SMALL)
    image = np.random.default_rng(0).integers(0, 100, (40, 50)).astype(np.uint8)
    expected = probabilities(model, image)
    for same in ((2 * image + 10).astype(np.uint8), image.astype(np.uint16) * 300, (image / 255).astype(np.float32)):
        np.testing.assert_allclose(probabilities(model, same), expected, atol=1e-3)


@pytest.mark.parametrize("shape", [(10, 300), (7, 7), (300, 301)])
def test_pictures_of_any_size_are_predicted(shape: tuple[int, int]) -> None:
    """Small, odd and large pictures of 8 and 16 bits give labels of their own size."""
    model = Model.fresh(SMALL)
    for dtype in (np.uint8, np.uint16):
        assert predict(model, np.full(shape, 9, dtype)).shape == shape
    with pytest.raises(PictureError, match="float64"):
        predict(model, np.zeros(shape))


def test_model_files_of_another_kind_or_version_are_refused(tmp_path: pathlib.Path) -> None:
    """Other files, versions and shapes each raise a ModelError that says what came."""
    path = save_model(Model.fresh(SMALL), tmp_path / "model.safetensors")
    weights = load_file(path)
    header = {
        "kind": "nanostream segmentation model",
        "version": MODEL_VERSION,
        "channels": 1,
        "network": dataclasses.asdict(SMALL),
        "watershed": dataclasses.asdict(WatershedConfig()),
    }

    def write(**changes: Any) -> pathlib.Path:
        save_file(weights, path, metadata={"nanostream": json.dumps(header | changes)})
        return path

    assert load_model(write()).network_config == SMALL
    with pytest.raises(ModelError, match="version 99"):
        load_model(write(version=99))
    with pytest.raises(ModelError, match=r"1 channel .* one for 3"):
        load_model(write(channels=3))
    with pytest.raises(ModelError, match="another kind"):
        load_model(write(kind="texture"))
    with pytest.raises(ModelError, match="got others"):
        load_model(write(network=dataclasses.asdict(NetworkConfig())))
    path.write_bytes(b"no safetensors")
    with pytest.raises(ModelError, match="could not read"):
        load_model(path)
    with pytest.raises(ModelError, match="nowhere"):
        load_model(tmp_path / "nowhere.safetensors")


def test_sheets_hold_their_tiles(tmp_path: pathlib.Path) -> None:
    """Outlines are coloured, the background keeps its grey, and tiles stand where they belong."""
    image, mask = np.full((20, 30), 100, np.uint8), np.zeros((20, 30), np.uint16)
    mask[5:15, 5:15] = 3
    drawn = overlay(image, mask)
    assert (drawn[mask == 0] == 100).all()
    assert (drawn[5, 5] != drawn[10, 10]).any()
    pixels = sheet([[grey(image), drawn], [drawn]], titles=("image", "mask"))
    assert (pixels[-24:-4, 4:34] == drawn).all()
    assert save_sheet(tmp_path / "new" / "sheet.png", pixels).stat().st_size > 0
    with pytest.raises(PictureError, match="one size"):
        sheet([[drawn, drawn[:5]]])
    with pytest.raises(PictureError, match="one size"):
        overlay(image, mask[:5])
