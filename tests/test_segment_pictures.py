"""Pictures and validation sets from files."""

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
from nanostream.segment.pictures import (
    find_pictures,
    footer_row,
    label_mask,
    read_picture,
    read_validation,
)

if TYPE_CHECKING:
    import pathlib


def _noise(shape: tuple[int, int], most: int = 256) -> np.ndarray:
    dtype = np.uint8 if most == 256 else np.uint16
    return np.random.default_rng(0).integers(0, most, shape).astype(dtype)


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


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("most", [256, 65536])
def test_grey_pictures_come_back_as_they_were(tmp_path: pathlib.Path, suffix: str, most: int) -> None:
    """8 and 16 bits survive PNG and TIFF."""
    pixels, path = _noise((20, 30), most), tmp_path / f"picture{suffix}"
    if suffix == ".png":
        Image.fromarray(pixels).save(path)
    else:
        tifffile.imwrite(path, pixels)
    got = read_picture(path)
    assert got.dtype == pixels.dtype
    assert (got == pixels).all()


def test_colours_are_averaged(tmp_path: pathlib.Path) -> None:
    """A grey picture saved with colours and transparency is the grey picture."""
    pixels = _noise((8, 9))
    rgba = np.dstack([pixels] * 3 + [np.full_like(pixels, 255)])
    Image.fromarray(rgba).save(tmp_path / "picture.png")
    assert (read_picture(tmp_path / "picture.png") == pixels).all()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_what_cannot_be_read_is_named(tmp_path: pathlib.Path, suffix: str) -> None:
    """Damaged files, stacks and floating pictures raise a PictureError with the file's name."""
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(b"\x89PNG not a picture at all")
    with pytest.raises(PictureError, match="damaged"):
        read_picture(path)
    stack = tmp_path / "stack.tif"
    tifffile.imwrite(stack, np.zeros((5, 6, 7), np.uint8), photometric="minisblack")
    with pytest.raises(PictureError, match=r"stack.*\(5, 6, 7\)"):
        read_picture(stack)
    floating = tmp_path / "floating.tif"
    tifffile.imwrite(floating, np.zeros((6, 7), np.float32))
    with pytest.raises(PictureError, match="float32"):
        read_picture(floating)


def test_a_footer_is_found_and_a_dark_picture_is_none() -> None:
    """The first row of a uniform footer with writing is found; dark skies and noise are kept."""
    image = 20 + _noise((100, 120)) // 2
    assert footer_row(image) is None
    image[80:] = 0
    image[85:95, 20:60] = 243
    assert footer_row(image) == 80
    assert footer_row(np.zeros((100, 120), np.uint8)) is None


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
    tifffile.imwrite(tmp_path / "masks" / "a.tif", np.zeros((3, 3), np.uint8))
    with pytest.raises(PictureError, match="'a'"):
        next(read_validation(tmp_path))
    (tmp_path / "masks" / "b.tif").unlink()
    with pytest.raises(PictureError, match="partner for b"):
        read_validation(tmp_path)
    with pytest.raises(PictureError, match="found none"):
        find_pictures(tmp_path)


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
