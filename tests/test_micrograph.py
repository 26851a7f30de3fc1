"""Users' pictures: what is read, what is said about it, and what is refused."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from nanostream.errors import PictureError
from nanostream.micrograph import list_pictures, read_micrograph, read_micrographs

if TYPE_CHECKING:
    import pathlib

NOISE = np.random.default_rng(0)


def noise(dtype: type, shape: tuple[int, ...] = (40, 50), most: int | None = None) -> np.ndarray:
    """Grey levels up to the dtype's greatest, which occurs, as 0 does."""
    greatest = np.iinfo(dtype).max if most is None else most
    pixels = NOISE.integers(0, greatest, shape, endpoint=True).astype(dtype)
    pixels.flat[:2] = 0, greatest
    return pixels


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_levels_are_shares_of_the_greatest(tmp_path: pathlib.Path, suffix: str, dtype: type) -> None:
    """8 and 16 bits come back as stored, divided by the greatest level of their type."""
    pixels, path = noise(dtype), tmp_path / f"picture{suffix}"
    (tifffile.imwrite if suffix == ".tif" else lambda to, what: Image.fromarray(what).save(to))(path, pixels)
    got = read_micrograph(path)
    assert got.pixels.dtype == np.float32
    assert (got.pixels.min(), got.pixels.max()) == (0, 1)
    np.testing.assert_allclose(got.pixels, pixels / np.iinfo(dtype).max, atol=1e-6)
    assert (got.bits, got.footer_rows, got.pixel_nm) == (pixels.itemsize * 8, 0, None)


def test_twelve_bits_in_sixteen_are_said(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    """A 16-bit file that never reaches 4096 fills [0, 1] with 12 bits, and the log says so."""
    tifffile.imwrite(tmp_path / "a.tif", noise(np.uint16, most=4095))
    with caplog.at_level(logging.INFO):
        got = read_micrograph(tmp_path / "a.tif")
    assert (got.bits, got.pixels.max()) == (12, 1)
    assert any("4096" in note for note in got.notes)
    assert "a.tif: no level reaches 4096" in caplog.text


def test_a_folder_has_one_scale(tmp_path: pathlib.Path) -> None:
    """A dim 16-bit picture beside a bright one stays dim: both are divided by the same number."""
    tifffile.imwrite(tmp_path / "dim.tif", noise(np.uint16, most=4000))
    tifffile.imwrite(tmp_path / "bright.tif", noise(np.uint16, most=60000))
    bright, dim = read_micrographs(tmp_path)
    assert (bright.path.name, dim.path.name) == ("bright.tif", "dim.tif")
    assert bright.pixels.max() / dim.pixels.max() == pytest.approx(15, rel=1e-3)
    assert any("16 bits" in note for note in dim.notes)


def test_grey_in_colours_is_that_grey(tmp_path: pathlib.Path) -> None:
    """Three equal channels, a palette, planes apart, transparency and white-is-zero all give the picture itself."""
    pixels = noise(np.uint8)
    same = np.dstack([pixels] * 3)
    Image.fromarray(same).save(tmp_path / "rgb.png")
    Image.fromarray(np.dstack([same, np.full_like(pixels, 255)])).save(tmp_path / "rgba.png")
    Image.fromarray(pixels).convert("P").save(tmp_path / "palette.png")
    tifffile.imwrite(tmp_path / "rgb.tif", same, photometric="rgb")
    tifffile.imwrite(tmp_path / "planes.tif", np.moveaxis(same, -1, 0), photometric="rgb", planarconfig="separate")
    tifffile.imwrite(tmp_path / "white.tif", 255 - pixels, photometric="miniswhite")
    table = np.repeat(np.arange(256, dtype=np.uint16)[None] * 257, 3, axis=0)
    tifffile.imwrite(tmp_path / "palette.tif", pixels, photometric="palette", colormap=table)
    for got in read_micrographs(tmp_path):
        np.testing.assert_allclose(got.pixels, pixels / 255, atol=1e-4, err_msg=got.path.name)
        assert got.notes, got.path.name


def test_colours_are_averaged_and_said(tmp_path: pathlib.Path) -> None:
    """True colour becomes the mean of its channels, with the share of coloured pixels."""
    colours = np.zeros((40, 50, 3), np.uint8)
    colours[:20] = 60, 90, 120
    Image.fromarray(colours).save(tmp_path / "a.png")
    got = read_micrograph(tmp_path / "a.png")
    assert got.pixels[0, 0] == pytest.approx(90 / 255)
    assert any("50.0% of the pixels are coloured" in note for note in got.notes)


def write(folder: pathlib.Path, pixels: Any, name: str = "bad.tif", **options: Any) -> pathlib.Path:
    """A TIFF file of any pixels."""
    tifffile.imwrite(folder / name, pixels, **options)
    return folder / name


def test_what_is_no_picture_is_named(tmp_path: pathlib.Path) -> None:
    """NaN, levels beyond [0, 1], stacks, whole numbers below 0 and a single level are each one sentence."""
    flat = np.full((40, 50), 0.5, np.float32)
    hole = flat + np.eye(40, 50, dtype=np.float32) / 4
    assert read_micrograph(write(tmp_path, hole)).pixels.max() == pytest.approx(0.75)
    hole[3, 4] = np.nan
    for pixels, words in [
        (hole, "1 that are NaN"),
        (flat + np.eye(40, 50, dtype=np.float32) * 9, "0.5 to 9.5"),
        (np.zeros((5, 40, 50), np.uint8), r"\(5, 40, 50\)"),
        (-noise(np.uint8).astype(np.int16), "int16"),
        (np.zeros((40, 50), np.uint8), "each of its pixels is 0"),
        (flat, "each of its pixels is 0.5"),
    ]:
        path = write(tmp_path, pixels, photometric="minisblack")
        with pytest.raises(PictureError, match=words) as raised:
            read_micrograph(path)
        assert "bad.tif" in str(raised.value)


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["plain", "strips", "zlib", "png"])
def test_files_cut_off_are_named(tmp_path: pathlib.Path, kind: str, kept: float) -> None:
    """A TIFF or PNG whose end is missing raises, however much of it is there, and never comes back half black."""
    path = tmp_path / ("cut.png" if kind == "png" else "cut.tif")
    pixels = noise(np.uint8, (200, 300))
    if kind == "png":
        Image.fromarray(pixels).save(path)
    else:
        options: dict[str, Any] = {"zlib": {"compression": "zlib", "rowsperstrip": 10}, "strips": {"rowsperstrip": 10}}
        tifffile.imwrite(path, pixels, **options.get(kind, {}))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(PictureError, match="cut"):
        read_micrograph(path)


def test_folders_that_do_not_fit_are_refused(tmp_path: pathlib.Path) -> None:
    """No folder, no picture, too few pictures and pictures under a patch's size each say what is missing."""
    with pytest.raises(PictureError, match="does not exist"):
        list_pictures(tmp_path / "nowhere")
    (tmp_path / "notes.docx").write_text("")
    with pytest.raises(PictureError, match=r"only \.docx"):
        read_micrographs(tmp_path)
    path = write(tmp_path, noise(np.uint8), "one.tif")
    (tmp_path / "._one.tif").write_text("what macOS leaves on shared disks")
    assert list_pictures(tmp_path) == [path] == list_pictures(path)
    assert [each.path for each in read_micrographs(tmp_path)] == [path]
    with pytest.raises(PictureError, match=r"at least 2 pictures .* found 1"):
        read_micrographs(tmp_path, least=2)
    with pytest.raises(PictureError, match="at least 128x128 pixels, got 40x50"):
        read_micrographs(tmp_path, least_px=128)


def test_the_user_has_the_last_word(tmp_path: pathlib.Path) -> None:
    """`crop` and `pixel_nm` replace what the file says, and are refused where they cannot be."""
    path = write(tmp_path, noise(np.uint8), imagej=True, resolution=(0.5, 0.5), metadata={"unit": "nm"})
    assert read_micrograph(path).pixel_nm == 2
    got = read_micrograph(path, crop=30, pixel_nm=3.5)
    assert (got.pixels.shape, got.footer_rows, got.pixel_nm) == ((30, 50), 10, 3.5)
    for wrong in ({"crop": 0}, {"crop": 41}, {"pixel_nm": 0.0}, {"pixel_nm": float("nan")}):
        with pytest.raises(PictureError, match="expected"):
            read_micrograph(path, **wrong)
