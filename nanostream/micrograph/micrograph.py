"""A picture that a user's microscope made.

Legend: H, W = picture height and width in pixels.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nanostream.errors import PictureError
from nanostream.micrograph.decode import Decoded, decode
from nanostream.micrograph.footer import footer_rows

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Micrograph", "read_micrograph", "treat"]

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Micrograph:
    """A grey picture without its footer.

    path: of its file. pixels: (H, W) float32 in [0, 1]. pixel_nm: edge of a pixel in nm, None if nobody says.
    footer_rows: rows that were cut off below. bits: how many the grey levels had; 1 is 2**bits - 1 of them, or of
    floating pictures 1. notes: each treatment, one a phrase; they are logged as well.
    """

    path: Path
    pixels: npt.NDArray[np.float32]
    pixel_nm: float | None
    footer_rows: int
    bits: int
    notes: tuple[str, ...]


def read_micrograph(path: str | Path, *, crop: int | None = None, pixel_nm: float | None = None) -> Micrograph:
    """A PNG, TIFF or BMP file's picture; of several the first.

    crop: rows to keep from the top, instead of looking for a footer. pixel_nm: edge of a pixel, instead of what the
    file says. Levels of 8 and 16 bits are divided by the greatest possible one; a 16-bit picture that never reaches
    4096 counts as 12 bits; floating levels must be in [0, 1]. Colours that are grey are collapsed, others averaged.
    Raises PictureError, with the file's name, if it is missing, damaged, not finite, one grey level only or a stack,
    and if crop or pixel_nm do not fit.
    """
    path = Path(path)
    return treat(path, decode(path), crop=crop, pixel_nm=pixel_nm)


def treat(
    path: Path, decoded: Decoded, *, bits: int | None = None, crop: int | None = None, pixel_nm: float | None = None
) -> Micrograph:
    """The micrograph of a decoded file; bits: how many the levels are taken to have, instead of what it found."""
    bits = decoded.bits if bits is None else bits
    notes = [*decoded.header.notes, *decoded.notes]
    if bits != decoded.bits:
        notes.append(f"scaled as {bits} bits, as other pictures of its folder")
    keep = _rows(path, decoded, crop)
    cut = len(decoded.pixels) - keep
    if cut:
        notes.append(f"{cut} rows cut off below{'' if crop is not None else ': a footer'}")
    if pixel_nm is not None:
        if not 0 < pixel_nm < math.inf:
            msg = f"expected a pixel size above 0 nm, got {pixel_nm}: give the edge of a pixel"
            raise PictureError(msg)
        notes.append(f"{pixel_nm:.4g} nm a pixel, as given")
    stored = decoded.pixels[:keep]
    most = 1 if stored.dtype.kind == "f" else 2**bits - 1
    pixels = np.multiply(stored, np.float32(1 / most), dtype=np.float32)
    if pixels.max() == pixels.min():
        msg = f"expected a picture above the footer of {str(path)!r}, but there is one grey level only: leave it out"
        raise PictureError(msg)
    pixels.setflags(write=False)
    for note in notes:
        logger.info("%s: %s", path.name, note)
    return Micrograph(
        path=path,
        pixels=pixels,
        pixel_nm=decoded.header.pixel_nm if pixel_nm is None else pixel_nm,
        footer_rows=cut,
        bits=bits,
        notes=tuple(notes),
    )


def _rows(path: Path, decoded: Decoded, crop: int | None) -> int:
    """How many rows to keep from the top."""
    height = len(decoded.pixels)
    if crop is None:
        told = decoded.header.footer_rows
        cut = footer_rows(decoded.pixels) if told is None else told
        return height - cut if cut < height else height
    if not 0 < crop <= height:
        msg = f"expected to keep 1 to {height} rows of {str(path)!r}, got {crop}: give another crop"
        raise PictureError(msg)
    return crop
