"""Pictures from files: a folder of micrographs, or a validation set with annotated masks.

Legend: H, W = picture height and width in pixels.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nanostream.errors import PictureError
from nanostream.segment.labels import components, remove_small

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "AnnotatedPicture",
    "find_pictures",
    "footer_row",
    "label_mask",
    "read_picture",
    "read_validation",
]

SUFFIXES = frozenset({".png", ".tif", ".tiff"})
ROW_FACTOR = 16
"""Rows above a footer are kept in multiples of this: the edge of a footer is rarely clean, and a
network that halves the picture four times needs no padding."""
FOOTER_MOST_HEIGHT = 0.25
FOOTER_UNIFORM_ROW = 0.9
FOOTER_UNIFORM_BELOW = 0.5
SMALLEST_PX = 50


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class AnnotatedPicture:
    """A picture and its annotated instances.

    image: (H, W) uint8 or uint16. labels: (H, W) int32, 0 background, 1..n instances.
    """

    name: str
    image: npt.NDArray[Any]
    labels: npt.NDArray[np.int32]


def find_pictures(folder: str | Path) -> list[Path]:
    """PNG and TIFF files of a folder (or the one file given), in the order of their names.

    Raises PictureError if there is none.
    """
    folder = Path(folder)
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        msg = f"expected a folder of pictures, got {str(folder)!r}, which does not exist"
        raise PictureError(msg)
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        msg = f"expected PNG or TIFF pictures in {str(folder)!r}, found none"
        raise PictureError(msg)
    return paths


def read_picture(path: str | Path) -> npt.NDArray[Any]:
    """Grey picture (H, W) uint8 or uint16 from a PNG or TIFF file; colours are averaged.

    Raises PictureError, with the file's name, if it cannot be read or is no such picture.
    """
    path = Path(path)
    try:
        pixels = np.asarray(_decode(path))
    except Exception as error:
        # Damaged files make the readers raise whatever their decoders stumble over.
        msg = f"expected a PNG or TIFF picture in {str(path)!r}, could not read it: {error}"
        raise PictureError(msg) from error
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 3, 4):  # noqa: PLR2004 - grey+alpha, RGB, RGBA
        colours = pixels[..., : 1 if pixels.shape[2] == 2 else 3]  # noqa: PLR2004
        pixels = colours.mean(axis=2).round().astype(pixels.dtype)
    if pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16) or not pixels.size:  # noqa: PLR2004
        msg = (
            f"expected one grey picture of 8 or 16 bits in {str(path)!r}, got shape {pixels.shape} "
            f"of {pixels.dtype}: save one plane as PNG or TIFF"
        )
        raise PictureError(msg)
    return pixels


def footer_row(image: npt.NDArray[Any]) -> int | None:
    """First row of a microscope's footer, or None if there is none.

    image: (H, W) integer. A footer is the lowest part of the picture, at most a quarter of it; its
    first two rows are at least nine tenths one grey value (InLens dark current never is), and that
    value fills at least half of everything below, whatever is written there.
    """
    height = image.shape[0]
    start = height - int(height * FOOTER_MOST_HEIGHT)
    for row in range(max(start, 1), height - 1):
        values, counts = np.unique(image[row : row + 2], return_counts=True)
        value = values[counts.argmax()]
        same = image[row:] == value
        uniform = same[0].mean() >= FOOTER_UNIFORM_ROW and same[1].mean() >= FOOTER_UNIFORM_ROW
        # A black sky over the footer's edge must not count: the row above has to differ.
        edge = (image[row - 1] == value).mean() < FOOTER_UNIFORM_BELOW
        if uniform and edge and same.mean() >= FOOTER_UNIFORM_BELOW:
            return row
    return None


def label_mask(mask: npt.NDArray[Any], *, smallest_px: int = SMALLEST_PX) -> npt.NDArray[np.int32]:
    """Instances of an annotated mask: (H, W) int32, 0 background, 1..n without gaps.

    A mask of one value beside 0 is labelled with 4-connectivity, so that a diagonal seam of one
    pixel parts two particles; a mask of more values holds labels already and keeps them. Instances
    under `smallest_px` pixels are dropped.
    """
    if len(np.unique(mask[mask > 0])) <= 1:
        mask = components(mask > 0)
    return remove_small(mask, smallest_px=smallest_px)


def read_validation(
    folder: str | Path, *, rows: int | None = None, smallest_px: int = SMALLEST_PX
) -> Iterator[AnnotatedPicture]:
    """Annotated pictures of a folder with `images/` and `masks/` of equal names (suffixes may differ).

    rows: how many rows to keep from the top; None keeps all, or, where a footer is found, the rows
    above it down to a multiple of 16. Raises PictureError if files are missing, cannot be read or
    differ in size.
    """
    folder = Path(folder)
    for part in ("images", "masks"):
        if not (folder / part).is_dir():
            msg = (
                f"expected a folder with images/ and masks/ in {str(folder)!r}, "
                f"found no {part}/: name the folder that holds both"
            )
            raise PictureError(msg)
    images = {path.stem: path for path in find_pictures(folder / "images")}
    masks = {path.stem: path for path in find_pictures(folder / "masks")}
    if images.keys() != masks.keys():
        lonely = sorted(images.keys() ^ masks.keys())
        msg = (
            f"expected a mask for every image in {str(folder)!r} and no other, "
            f"got no partner for {', '.join(lonely[:3])}: give both files the same name"
        )
        raise PictureError(msg)
    return (_read_pair(name, images[name], masks[name], rows=rows, smallest_px=smallest_px) for name in sorted(images))


def _read_pair(name: str, image_path: Path, mask_path: Path, *, rows: int | None, smallest_px: int) -> AnnotatedPicture:
    image, mask = read_picture(image_path), read_picture(mask_path)
    if image.shape != mask.shape:
        msg = (
            f"expected image and mask of {name!r} to have one size, got {image.shape} and "
            f"{mask.shape}: save the mask at the picture's own size"
        )
        raise PictureError(msg)
    if rows is None:
        footer = footer_row(image)
        keep = image.shape[0] if footer is None else footer - footer % ROW_FACTOR
    elif 0 < rows <= image.shape[0]:
        keep = rows
    else:
        msg = f"expected to keep 1 to {image.shape[0]} rows of {name!r}, got {rows}"
        raise PictureError(msg)
    return AnnotatedPicture(name=name, image=image[:keep], labels=label_mask(mask[:keep], smallest_px=smallest_px))


def _decode(path: Path) -> npt.NDArray[Any]:
    if path.suffix.lower() in {".tif", ".tiff"}:
        import tifffile

        return tifffile.imread(path)
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture)
