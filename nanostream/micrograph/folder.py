"""A folder of pictures of one microscope and one sample."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nanostream.errors import PictureError
from nanostream.micrograph.decode import decode
from nanostream.micrograph.micrograph import treat

if TYPE_CHECKING:
    from nanostream.micrograph.micrograph import Micrograph

__all__ = ["list_pictures", "read_micrographs"]

_SUFFIXES = frozenset({".bmp", ".png", ".tif", ".tiff"})


def list_pictures(folder: str | Path) -> list[Path]:
    """PNG, TIFF and BMP files of a folder, or the one file given, in the order of their names.

    Files whose names begin with a dot are left out. Raises PictureError if there is none.
    """
    folder = Path(folder)
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        msg = f"expected a folder of pictures, got {str(folder)!r}, which does not exist: check the path"
        raise PictureError(msg)
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    paths = [path for path in files if path.suffix.lower() in _SUFFIXES]
    if not paths:
        others = sorted({path.suffix for path in files if path.suffix})
        found = f"only {', '.join(others[:5])} files" if others else "none"
        msg = f"expected PNG, TIFF or BMP pictures in {str(folder)!r}, found {found}: name another folder"
        raise PictureError(msg)
    return paths


def read_micrographs(
    folder: str | Path,
    *,
    crop: int | None = None,
    pixel_nm: float | None = None,
    least: int = 1,
    least_px: int = 1,
) -> list[Micrograph]:
    """Every picture of a folder, as `read_micrograph` reads it, in the order of their names.

    least: how many pictures there must be. least_px: rows and columns that each must have above its footer. Where
    16-bit pictures differ in how many bits they use, all are scaled by the most, so that their grey levels can be
    compared. Raises PictureError for the first picture that does not fit.
    """
    paths = list_pictures(folder)
    if len(paths) < least:
        msg = f"expected at least {least} pictures in {str(folder)!r}, found {len(paths)}: add more"
        raise PictureError(msg)
    decoded = [decode(path) for path in paths]
    wide = [each.bits for each in decoded if each.pixels.dtype.itemsize == 2]  # noqa: PLR2004 - bytes: 16-bit files
    micrographs = []
    for path, each in zip(paths, decoded, strict=True):
        bits = max(wide) if each.pixels.dtype.itemsize == 2 else None  # noqa: PLR2004
        picture = treat(path, each, bits=bits, crop=crop, pixel_nm=pixel_nm)
        if min(picture.pixels.shape) < least_px:
            height, width = picture.pixels.shape
            msg = (
                f"expected pictures of at least {least_px}x{least_px} pixels, got {height}x{width} in {str(path)!r}: "
                "leave it out, or use smaller patches"
            )
            raise PictureError(msg)
        micrographs.append(picture)
    return micrographs
