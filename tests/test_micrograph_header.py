"""The pixel size and the footer's height, from what microscopes write beside the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from nanostream.micrograph import read_micrograph

if TYPE_CHECKING:
    import pathlib

    from nanostream.micrograph import Micrograph

PIXELS = np.random.default_rng(0).integers(0, 255, (60, 80)).astype(np.uint8)
ZEISS, SFEG, HELIOS = 34118, 34680, 34682


def read(folder: pathlib.Path, *, tag: tuple[int, str] | None = None, **options: Any) -> Micrograph:
    """The picture with one private text tag."""
    tags = [] if tag is None else [(tag[0], "s", 0, tag[1].encode("latin-1"), True)]
    tifffile.imwrite(folder / "a.tif", PIXELS, extratags=tags, **options)
    return read_micrograph(folder / "a.tif")


@pytest.mark.parametrize(
    ("line", "pixel_nm"),
    [
        ("AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 7.344 nm", 7.344),
        ("AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 558.2 pm", 0.5582),
        ("AP_PIXEL_SIZE\r\nPixel Size = 1.5 µm", 1500),
    ],
)
def test_zeiss(tmp_path: pathlib.Path, line: str, pixel_nm: float) -> None:
    """SmartSEM's pixel size is read in each of the units that it writes."""
    got = read(tmp_path, tag=(ZEISS, f"0\r\n0\r\n0\r\n1e-9\r\nAP_EHT\r\nEHT = 20.00 kV\r\n{line}\r\n"))
    assert got.pixel_nm == pytest.approx(pixel_nm)
    assert "Zeiss" in got.notes[0]


def test_zeiss_of_old_software(tmp_path: pathlib.Path) -> None:
    """Where no named pixel size is, the unnamed one of a screen 1024 pixels wide is taken."""
    got = read(tmp_path, tag=(ZEISS, "0\r\n0\r\n0\r\n2e-9\r\n0\r\nAP_EHT\r\nEHT = 20.00 kV\r\n"))
    assert got.pixel_nm == pytest.approx(2 * 1024 / 80)


@pytest.mark.parametrize("tag", [SFEG, HELIOS])
def test_fei(tmp_path: pathlib.Path, tag: int) -> None:
    """FEI and Thermo Fisher write metres a pixel, and how high the data bar is."""
    text = (
        "[User]\r\nUser=a\r\n[Scan]\r\nPixelWidth=3.5e-09\r\nPixelHeight=3.5e-09\r\n[PrivateFei]\r\nDatabarHeight=9\r\n"
    )
    got = read(tmp_path, tag=(tag, text))
    assert got.pixel_nm == pytest.approx(3.5)
    assert (got.footer_rows, got.pixels.shape) == (9, (51, 80))


def test_fei_pixels_that_are_not_square_are_said(tmp_path: pathlib.Path) -> None:
    """Pixels that are higher than wide are taken as square, and a note says so."""
    got = read(tmp_path, tag=(SFEG, "[EScan]\r\nPixelWidth=3e-09\r\nPixelHeight=4e-09\r\n"))
    assert got.pixel_nm == pytest.approx(3)
    assert any("1.333 times as high" in note for note in got.notes)


@pytest.mark.parametrize(("unit", "pixel_nm"), [("nm", 4), ("micron", 4000), ("um", 4000), (r"\u00B5m", 4000)])
def test_imagej(tmp_path: pathlib.Path, unit: str, pixel_nm: float) -> None:
    """ImageJ's pixels per unit are read in each spelling of its units."""
    got = read(tmp_path, imagej=True, resolution=(0.25, 0.25), metadata={"unit": unit})
    assert got.pixel_nm == pytest.approx(pixel_nm)


def test_ome(tmp_path: pathlib.Path) -> None:
    """OME's physical size is read, in µm where no unit is written."""
    sizes = {"PhysicalSizeX": 0.002, "PhysicalSizeY": 0.002}
    tifffile.imwrite(tmp_path / "a.ome.tif", PIXELS, metadata={**sizes, "axes": "YX"})
    assert read_micrograph(tmp_path / "a.ome.tif").pixel_nm == pytest.approx(2)
    tifffile.imwrite(tmp_path / "a.ome.tif", PIXELS, metadata={**sizes, "axes": "YX", "PhysicalSizeXUnit": "nm"})
    assert read_micrograph(tmp_path / "a.ome.tif").pixel_nm == pytest.approx(0.002)


def test_jeol(tmp_path: pathlib.Path) -> None:
    """The text file beside a JEOL picture gives the pixel size and the rows without the footer."""
    (tmp_path / "a.txt").write_text(
        "$CM_FORMAT JEOL-SEM\n$CM_FULL_SIZE 80 50\n$$SM_MICRON_BAR 20\n$$SM_MICRON_MARKER 100nm\n", encoding="latin-1"
    )
    got = read(tmp_path)
    assert (got.pixel_nm, got.footer_rows) == (5, 10)


@pytest.mark.parametrize(
    "options",
    [
        {"resolution": (300, 300), "resolutionunit": "INCH"},
        {"imagej": True, "resolution": (0.25, 0.25), "metadata": {"unit": "pixel"}},
        {"tag": (ZEISS, "\r\nnothing of use\r\n")},
        {"tag": (SFEG, "[Scan]\r\nPixelWidth=-1\r\n")},
    ],
)
def test_a_printers_resolution_is_no_pixel_size(tmp_path: pathlib.Path, options: dict[str, Any]) -> None:
    """Dots an inch, unknown units and damaged tags give no pixel size, and the picture all the same."""
    got = read(tmp_path, **options)
    assert got.pixel_nm is None
    assert got.pixels.shape == PIXELS.shape
