"""Evaluation sets from files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from PIL import Image

from nanostream.errors import PictureError
from nanostream.segment.baseline import otsu_watershed
from nanostream.segment.labels import remove_small
from nanostream.segment.metrics import score
from nanostream.segment.pictures import label_mask, read_validation

if TYPE_CHECKING:
    import pathlib


def _noise(shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def _validation_set(folder: pathlib.Path) -> pathlib.Path:
    """Two pictures with a footer, two touching squares and a speck in each mask."""
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    image = 20 + _noise((100, 120)) // 2
    image[83:] = 0
    image[90:95, 10:60] = 243
    mask = np.zeros((100, 120), np.uint8)
    mask[10:30, 10:30] = mask[30:50, 30:50] = mask[70, 70] = 255
    for name in ("a", "b"):
        Image.fromarray(image).save(folder / "images" / f"{name}.png")
        tifffile.imwrite(folder / "masks" / f"{name}.tif", mask)
    return folder


def test_an_evaluation_folder_is_read(tmp_path: pathlib.Path) -> None:
    """Footers are left out in multiples of 16 rows, diagonal neighbours parted, specks dropped."""
    first, second = read_validation(_validation_set(tmp_path))
    assert (first.name, second.name) == ("a", "b")
    assert first.image.shape == first.labels.shape == (80, 120)
    assert np.unique(first.labels).tolist() == [0, 1, 2]
    assert next(read_validation(tmp_path, rows=25)).labels.shape == (25, 120)


def test_evaluation_folders_that_do_not_fit_are_refused(tmp_path: pathlib.Path) -> None:
    """Missing folders and partners, other sizes and too many rows are each one sentence."""
    with pytest.raises(PictureError, match="images/"):
        read_validation(tmp_path / "nowhere")
    _validation_set(tmp_path)
    with pytest.raises(PictureError, match="500"):
        next(read_validation(tmp_path, rows=500))
    for mask, said in ((np.zeros((3, 3), np.uint8), "'a'"), (np.zeros((100, 120), np.float32), "float32")):
        tifffile.imwrite(tmp_path / "masks" / "a.tif", mask)
        with pytest.raises(PictureError, match=said):
            next(read_validation(tmp_path))
    (tmp_path / "masks" / "a.tif").write_bytes(b"no TIFF")
    with pytest.raises(PictureError, match=r"a\.tif"):
        next(read_validation(tmp_path))
    (tmp_path / "masks" / "b.tif").unlink()
    with pytest.raises(PictureError, match="partner for b"):
        read_validation(tmp_path)


def test_an_empty_mask_is_an_annotation(tmp_path: pathlib.Path) -> None:
    """A picture in which nobody marked a particle counts, and its mask may be saved in grey colours."""
    _validation_set(tmp_path)
    tifffile.imwrite(tmp_path / "masks" / "a.tif", np.zeros((100, 120, 3), np.uint8))
    assert next(read_validation(tmp_path)).labels.max() == 0


def test_labels_keep_their_parting() -> None:
    """A mask of labels keeps touching instances apart; a mask of one value is labelled."""
    labels = np.zeros((20, 20), np.uint16)
    labels[2:10, 2:10], labels[10:18, 2:10] = 7, 9
    assert label_mask(labels, smallest_px=1).max() == 2
    assert label_mask(labels > 0, smallest_px=1).max() == 1
    assert remove_small(labels, smallest_px=65).max() == 0


def test_the_annotated_pictures_are_read_as_their_source_says(shared_data: pathlib.Path) -> None:
    """Rows 0 to 703 of the published validation pictures remain, and Otsu scores as it did."""
    pictures = list(read_validation(shared_data / "bam_tio2_sem" / "validation"))
    assert len(pictures) == 8
    assert {p.image.shape for p in pictures} == {(704, 1024)}
    got = score((otsu_watershed(p.image), p.labels) for p in pictures)
    assert got.true_instances == 1398
    assert got.dice == pytest.approx(0.867, abs=0.01)
    assert got.f1 == pytest.approx(0.450, abs=0.01)
