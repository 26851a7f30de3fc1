"""Annotated pictures from files: an evaluation set.

Legend: H, W = picture height and width in pixels.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nanostream.errors import PictureError
from nanostream.micrograph import list_pictures, read_micrograph
from nanostream.segment.labels import components, remove_small

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SMALLEST_PX", "AnnotatedPicture", "label_mask", "read_validation"]

ROW_FACTOR = 16
"""Rows above a footer are kept in multiples of this: the edge of a footer is rarely clean, and a
network that halves the picture four times needs no padding."""
SMALLEST_PX = 50


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class AnnotatedPicture:
    """A picture and its annotated instances.

    image: (H, W) uint8, uint16, or float32 in [0, 1]. labels: (H, W) int32, 0 background, 1..n instances.
    """

    name: str
    image: npt.NDArray[Any]
    labels: npt.NDArray[np.int32]


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
    images = {path.stem: path for path in list_pictures(folder / "images")}
    masks = {path.stem: path for path in list_pictures(folder / "masks")}
    if images.keys() != masks.keys():
        lonely = sorted(images.keys() ^ masks.keys())
        msg = (
            f"expected a mask for every image in {str(folder)!r} and no other, "
            f"got no partner for {', '.join(lonely[:3])}: give both files the same name"
        )
        raise PictureError(msg)
    return (_read_pair(name, images[name], masks[name], rows=rows, smallest_px=smallest_px) for name in sorted(images))


def _read_pair(name: str, image_path: Path, mask_path: Path, *, rows: int | None, smallest_px: int) -> AnnotatedPicture:
    picture, mask = read_micrograph(image_path, crop=rows), _read_mask(mask_path)
    height, width = picture.pixels.shape
    if mask.shape != (height + picture.footer_rows, width):
        msg = (
            f"expected image and mask of {name!r} to have one size, got {(height + picture.footer_rows, width)} and "
            f"{mask.shape}: save the mask at the picture's own size"
        )
        raise PictureError(msg)
    keep = height - height % ROW_FACTOR if rows is None and picture.footer_rows else height
    return AnnotatedPicture(
        name=name, image=picture.pixels[:keep], labels=label_mask(mask[:keep], smallest_px=smallest_px)
    )


def _read_mask(path: Path) -> npt.NDArray[Any]:
    """Labels (H, W) of whole numbers as a PNG or TIFF file holds them; colours must be grey."""
    try:
        mask = np.asarray(_decode(path))
    except Exception as error:
        # Damaged files make the readers raise whatever their decoders stumble over.
        msg = f"expected a mask in {str(path)!r}, could not read it ({error}): save it as PNG or TIFF"
        raise PictureError(msg) from error
    if mask.ndim == 3 and (mask == mask[..., :1]).all():  # noqa: PLR2004 - colours
        mask = mask[..., 0]
    if mask.ndim != 2 or mask.dtype.kind not in "bui":  # noqa: PLR2004
        msg = f"expected a mask (H, W) of whole numbers in {str(path)!r}, got {mask.shape} of {mask.dtype}: save labels"
        raise PictureError(msg)
    return mask.astype(np.int64)


def _decode(path: Path) -> Any:
    if path.suffix.lower() in {".tif", ".tiff"}:
        import tifffile

        return tifffile.imread(path)
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture)
