"""One grey picture out of a PNG, TIFF or BMP file, in the numbers that the file holds.

Legend: H, W = picture height and width in pixels, C = colours.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nanostream.errors import PictureError
from nanostream.micrograph.header import Header, read_header

if TYPE_CHECKING:
    from pathlib import Path

    import tifffile

__all__ = ["Decoded", "decode"]

_TIFF = frozenset({".tif", ".tiff"})
_GREY_LEVELS = 2
"""Colours that differ by at most this many of 255 levels are rounding, not colour."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Decoded:
    """Grey levels as stored: (H, W) uint8, uint16 or float32; `bits` is how many of them hold the picture."""

    pixels: npt.NDArray[Any]
    bits: int
    header: Header
    notes: tuple[str, ...]


def decode(path: Path) -> Decoded:
    """The picture of a file; raises PictureError, with the file's name, if it holds none or is damaged."""
    try:
        decoded = _decode_tiff(path) if path.suffix.lower() in _TIFF else _decode_other(path)
    except PictureError:
        raise
    except Exception as error:
        # Damaged files make the readers raise whatever their decoders stumble over.
        msg = f"expected a whole PNG, TIFF or BMP picture in {str(path)!r}, could not read it ({error}): save it anew"
        raise PictureError(msg) from error
    _check(decoded.pixels, path)
    return decoded


def _decode_tiff(path: Path) -> Decoded:
    import tifffile

    notes: list[str] = []
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        page = series.keyframe
        _check_whole(file, path)
        pixels = series.asarray()
        header = read_header(path, file)
        if len(file.series) > 1:
            notes.append(f"the first of {len(file.series)} pictures in the file is read")
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
            # Colour tables have 16 bits for what has 8.
            pixels = np.moveaxis((page.colormap >> 8).astype(np.uint8)[:, pixels], 0, -1)
        elif series.axes in {"SYX", "CYX"} and page.photometric == tifffile.PHOTOMETRIC.RGB:
            pixels = np.moveaxis(pixels, 0, -1)
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            pixels = np.iinfo(pixels.dtype).max - pixels
            notes.append("stored with white as 0 and inverted")
        stored_bits = int(page.bitspersample)
    grey, told = _grey(pixels)
    bits, told_bits = _bits(grey, stored_bits)
    return Decoded(pixels=grey, bits=bits, header=header, notes=(*notes, *told, *told_bits))


def _check_whole(file: tifffile.TiffFile, path: Path) -> None:
    """What a file was cut off from, tifffile may fill with zeros without a word."""
    length = path.stat().st_size
    for page in file.series[0].pages:
        parts = () if page is None else zip(page.dataoffsets, page.databytecounts, strict=True)
        if any(offset + size > length for offset, size in parts):
            msg = f"expected a whole TIFF picture in {str(path)!r}, but the file ends too early: copy it anew"
            raise PictureError(msg)


def _decode_other(path: Path) -> Decoded:
    from PIL import Image

    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB") if picture.mode in {"P", "PA", "CMYK", "YCbCr"} else picture)
    if pixels.dtype == np.int32 and pixels.size and pixels.min() >= 0 and pixels.max() <= np.iinfo(np.uint16).max:
        pixels = pixels.astype(np.uint16)
    grey, told = _grey(pixels)
    bits, told_bits = _bits(grey, grey.dtype.itemsize * 8)
    return Decoded(pixels=grey, bits=bits, header=read_header(path, None), notes=(*told, *told_bits))


def _grey(pixels: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """(H, W) of (H, W, C) colours, and what was done; other shapes come back as they are."""
    if pixels.ndim != 3 or pixels.shape[2] not in {1, 2, 3, 4}:  # noqa: PLR2004 - colours
        return pixels, ()
    colours = pixels[..., : 3 if pixels.shape[2] > 2 else 1]  # noqa: PLR2004 - the last of 2 or 4 is transparency
    if colours.shape[2] == 1:
        return colours[..., 0], ()
    most = 1.0 if colours.dtype.kind == "f" else float(np.iinfo(colours.dtype).max)
    spread = colours.max(axis=2).astype(np.float32) - colours.min(axis=2)
    coloured = float((spread > most * _GREY_LEVELS / 255).mean())
    if coloured == 0:
        return colours[..., 0], ("stored in colours that are all grey",)
    mean = colours.mean(axis=2, dtype=np.float32)
    grey = mean.astype(colours.dtype) if colours.dtype.kind == "f" else mean.round().astype(colours.dtype)
    return grey, (f"{coloured:.1%} of the pixels are coloured: red, green and blue were averaged",)


def _bits(pixels: npt.NDArray[Any], stored: int) -> tuple[int, tuple[str, ...]]:
    """How many bits hold the picture: cameras of 12 bits write files of 16."""
    narrow = 12
    if pixels.dtype == np.uint16 and stored == 16 and pixels.size and pixels.max() < 2**narrow:  # noqa: PLR2004
        return narrow, (f"no level reaches {2**narrow}, so the 16 bits are taken for {narrow}",)
    return stored, ()


def _check(pixels: npt.NDArray[Any], path: Path) -> None:
    if pixels.ndim != 2 or not pixels.size:  # noqa: PLR2004 - height and width
        msg = f"expected one picture in {str(path)!r}, got an array of {pixels.shape}: save one plane as PNG or TIFF"
        raise PictureError(msg)
    if pixels.dtype.kind == "f":
        if not np.isfinite(pixels).all():
            count = int((~np.isfinite(pixels)).sum())
            msg = f"expected finite grey levels in {str(path)!r}, got {count} that are NaN or infinite: repair the file"
            raise PictureError(msg)
        if pixels.min() < 0 or pixels.max() > 1:
            msg = (
                f"expected floating grey levels from 0 to 1 in {str(path)!r}, got {pixels.min():g} to "
                f"{pixels.max():g}: save it with 8 or 16 bits"
            )
            raise PictureError(msg)
    elif pixels.dtype not in (np.uint8, np.uint16):
        msg = f"expected a grey picture of 8 or 16 bits in {str(path)!r}, got {pixels.dtype}: save it with 8 or 16 bits"
        raise PictureError(msg)
    if pixels.max() == pixels.min():
        msg = f"expected a picture in {str(path)!r}, but each of its pixels is {pixels.flat[0]}: leave it out"
        raise PictureError(msg)
