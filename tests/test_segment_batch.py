"""Pictures of any size, and the command that segments a folder of them."""

from __future__ import annotations

import csv
import html
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch import nn

from nanostream.cli import app
from nanostream.segment import batch, tiles
from nanostream.segment.baseline import otsu_watershed
from nanostream.segment.instances import WatershedConfig
from nanostream.segment.labels import components
from nanostream.segment.metrics import match
from nanostream.segment.model import Model, save_model
from nanostream.segment.network import SHAPES, NetworkConfig
from nanostream.segment.predict import PictureStatistics, predict
from nanostream.segment.tiles import Tiling, predict_tiled

if TYPE_CHECKING:
    import pathlib

SMALL = NetworkConfig(channels=(8, 16, 32), strides=(2, 2), residual_units=1)
LEVELS = np.array([0.1, 0.5, 0.9], np.float32)
"""Grey level of background, contour and inside in pictures that tell their classes."""


class _Reader(nn.Module):
    """A network that reads the classes off the grey levels."""

    def __init__(self, levels: np.ndarray) -> None:
        super().__init__()
        self.levels = nn.Parameter(torch.from_numpy(levels), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        background, contour, inside = (-30 * (x - level).abs() for level in self.levels)
        return torch.cat([background, inside, contour, *[x] * SHAPES], dim=1)


def _particles(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture that tells its classes, and labels: discs, some touching, and a bar through all of it."""
    rng = np.random.default_rng(3)
    labels = np.zeros((height, width), np.int32)
    y, x = np.mgrid[:height, :width]
    for label in range(2, 60):
        cy, cx, r = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(6, 20)
        labels[(y - cy) ** 2 + (x - cx) ** 2 < r**2] = label
    labels[height // 2 - 5 : height // 2 + 5, 7:-9] = 1
    padded = np.pad(labels, 1, mode="edge")
    near = [padded[1 + a : height + 1 + a, 1 + b : width + 1 + b] for a in (-1, 0, 1) for b in (-1, 0, 1)]
    edge = np.any([other != labels for other in near], axis=0)
    return LEVELS[np.where(labels > 0, 2 - edge, 0)], labels


def test_tiles_give_what_the_whole_picture_gives(tmp_path: pathlib.Path) -> None:
    """Cut into many tiles, a picture has the same particles as whole, also one that runs through all of it."""
    image, _ = _particles(300, 420)
    known = PictureStatistics.of(image)
    network = _Reader(((LEVELS - known.mean) / known.deviation).astype(np.float32))
    model = Model(network=network, network_config=SMALL, watershed=WatershedConfig(), about={})
    whole = predict(model, image)
    assert whole.max() > 30
    shares: list[float] = []
    cut = predict_tiled(
        model,
        image,
        scratch=tmp_path / "labels",
        tiling=Tiling(tile_px=96, margin_px=48, strip_px=16),
        on_share=shares.append,
    )
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert cut.max() == whole.max() == len(np.unique(cut)) - 1
    assert ((cut > 0) == (whole > 0)).all()
    same = match(cut, whole, threshold=0.95)
    assert (same.fp, same.fn) == (0, 0)


def test_a_picture_that_fits_is_not_cut(tmp_path: pathlib.Path) -> None:
    """No file is written for a picture of a tile's size."""
    predict_tiled(Model.fresh(SMALL), np.eye(64, dtype=np.float32), scratch=tmp_path / "labels")
    assert not list(tmp_path.iterdir())


def _micrograph(seed: int = 0) -> np.ndarray:
    """Bright discs on a dark ground, above a footer of 20 rows: (120, 160) uint8."""
    rng = np.random.default_rng(seed)
    image = rng.normal(40, 6, (120, 160))
    y, x = np.mgrid[:120, :160]
    for cy, cx, r in ((30, 30, 9), (40, 90, 14), (70, 60, 11), (2, 130, 8)):
        image[(y - cy) ** 2 + (x - cx) ** 2 < r**2] += 130
    image[100:] = 0
    image[105:112, 10:60] = 255
    return image.clip(0, 255).astype(np.uint8)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> pathlib.Path:
    """A model file; predictions are Otsu's, since nothing was trained."""

    def by_otsu(_: Model, image: np.ndarray, **__: Any) -> np.ndarray:
        return otsu_watershed(image) if image.std() > 0.1 else np.zeros(image.shape, np.int32)

    monkeypatch.setattr(tiles, "predict", by_otsu)
    return save_model(Model.fresh(SMALL), tmp_path / "model")


def test_a_folder_becomes_masks_tables_and_a_report(
    found: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each picture gets labels of its own size and an overlay; the tables agree; a damaged one is named, code 1."""
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    pictures.mkdir()
    Image.fromarray(_micrograph()).save(pictures / "a.png")
    tifffile.imwrite(pictures / "b.tif", _micrograph(1).astype(np.uint16) * 200)
    (pictures / "damaged.tif").write_bytes((pictures / "b.tif").read_bytes()[:3000])
    words = ["segment", str(found), str(pictures), "-o", str(out), "--pixel-nm", "5"]
    assert app.main(words) == 1
    said = capsys.readouterr()
    assert "8 particles in 2 pictures" in said.out
    assert "1 of 3 pictures were skipped: damaged.tif" in said.err
    for name in ("a", "b"):
        labels = tifffile.imread(out / "labels" / f"{name}.tif")
        assert labels.dtype == np.uint16
        assert labels.shape == (120, 160)
        assert labels.max() == 4
        assert not labels[100:].any()
        with Image.open(out / "overlays" / f"{name}.png") as drawn:
            assert drawn.size == (160, 100)
    with (out / "particles.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["picture"] for row in rows] == ["a.png"] * 4 + ["b.tif"] * 4
    assert max(float(row["diameter_nm"]) for row in rows) == pytest.approx(28 * 5, rel=0.05)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["particles"] == 8
    assert summary["touching_border"] == 2
    assert summary["border"] == "corrected"
    assert summary["sizes"]["count"] == 6
    assert summary["area_um2"] == pytest.approx(2 * 100 * 160 * 25e-6)
    assert [each["name"] for each in summary["skipped"]] == ["damaged.tif"]
    report = (out / "report.html").read_text()
    assert report.count("data:image/jpeg;base64,") == 2
    assert "<svg" in report
    assert summary["border_says"] in html.unescape(report)
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!data:)", report)
    assert not [path for path in out.rglob("*") if "partial" in path.name]
    assert app.main(words) == 1
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize("border", ["corrected", "excluded", "kept"])
def test_no_particle_is_an_answer(
    found: pathlib.Path, tmp_path: pathlib.Path, border: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A picture without particles gives an empty table, a summary and a report, with code 0."""
    ground = np.random.default_rng(0).normal(40, 6, (64, 80)).clip(0, 255).astype(np.uint8)
    Image.fromarray(ground).save(tmp_path / "ground.png")
    out = tmp_path / "out"
    words = ["segment", str(found), str(tmp_path / "ground.png"), "-o", str(out), "--pixel-nm", "5", "--wires"]
    assert app.main([*words, "--border", border]) == 0
    assert "0 particles in 1 pictures" in capsys.readouterr().out
    assert len((out / "particles.csv").read_text().splitlines()) == 1
    assert json.loads((out / "summary.json").read_text())["sizes"]["d50_nm"] is None
    assert "No particle" in (out / "report.html").read_text()


def test_a_picture_of_unknown_scale_is_skipped(
    found: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a pixel size in the file or --pixel-nm nothing is measured, and the remedy is said."""
    Image.fromarray(_micrograph()).save(tmp_path / "a.png")
    assert app.main(["segment", str(found), str(tmp_path / "a.png"), "-o", str(tmp_path / "out")]) == 1
    assert "--pixel-nm" in capsys.readouterr().err


def test_the_border_rule_decides_who_counts(found: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Kept, all particles count; excluded, only whole ones, all alike; corrected, large ones for more."""
    Image.fromarray(_micrograph()).save(tmp_path / "a.png")
    medians = {}
    for border, count in (("kept", 4), ("excluded", 3), ("corrected", 3)):
        out = tmp_path / border
        words = ["segment", str(found), str(tmp_path / "a.png"), "-o", str(out), "--pixel-nm", "5"]
        assert app.main([*words, "--border", border]) == 0
        sizes = json.loads((out / "summary.json").read_text())["sizes"]
        assert sizes["count"] == count
        medians[border] = sizes["mean_nm"]
    assert medians["corrected"] > medians["excluded"]


def test_wires_are_measured_where_the_model_says_so(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that was trained on wires adds their columns, and the network's density and junctions."""
    monkeypatch.setattr(tiles, "predict", lambda _, image, **__: components(image > 0.4))
    model = Model.fresh(SMALL)
    model.about["recipe"] = {"name": "agnw-sem", "shape": "wire"}
    path = save_model(model, tmp_path / "wires")
    image = np.random.default_rng(0).normal(40, 6, (90, 120))
    image[40:48, 10:110] += 130
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(tmp_path / "a.png")
    words = ["segment", str(path), str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), "--pixel-nm", "2"]
    assert app.main(words) == 0
    with (tmp_path / "out" / "particles.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(float(row["wire_length_nm"]) for row in rows) == pytest.approx(200, rel=0.05)
    wires = json.loads((tmp_path / "out" / "summary.json").read_text())["wires"]
    assert wires["length_um_per_um2"] == pytest.approx(0.2 / (90 * 120 * 4e-6), rel=0.15)
    assert wires["diameter_by_length"]["mean_nm"] == pytest.approx(16, rel=0.05)
    assert wires["junctions"] == 0


def test_many_particles_take_32_bits(tmp_path: pathlib.Path) -> None:
    """Over 65,535 particles the label picture has 32 bits, so that no two share a value."""
    labels = np.arange(70_000, dtype=np.int32).reshape(280, 250)
    batch._write_labels(tmp_path / "many.tif", labels, footer_rows=4, pixel_nm=2.0)
    with tifffile.TiffFile(tmp_path / "many.tif") as file:
        assert file.pages.first.dtype == np.uint32
        assert file.pages.first.get_resolution(tifffile.RESUNIT.MICROMETER)[0] == pytest.approx(500)
    assert (tifffile.imread(tmp_path / "many.tif")[:280] == labels).all()


def test_pictures_of_one_name_do_not_share_files(found: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """a.png and a.tif each get labels of their own."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.fromarray(_micrograph()).save(pictures / "a.png")
    tifffile.imwrite(pictures / "a.tif", _micrograph(1))
    assert app.main(["segment", str(found), str(pictures), "-o", str(tmp_path / "out"), "--pixel-nm", "5"]) == 0
    assert sorted(path.name for path in (tmp_path / "out" / "labels").iterdir()) == ["a.png.tif", "a.tif.tif"]
