"""Sheets of pictures: an image beside its instances, drawn with numpy and Pillow alone.

Legend: H, W = height and width in pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nanostream.errors import PictureError
from nanostream.files import whole_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = ["grey", "overlay", "save_sheet", "sheet"]

GOLDEN = 0.61803398875
TITLE_PX = 22


def grey(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Image (H, W) uint8 or uint16 as (H, W, 3) uint8."""
    shift = 8 if image.dtype == np.uint16 else 0
    return np.repeat((image >> shift).astype(np.uint8)[..., None], 3, axis=2)


def overlay(image: npt.NDArray[Any], mask: npt.NDArray[Any], *, strength: float = 0.35) -> npt.NDArray[np.uint8]:
    """Image with each instance tinted in a colour of its own and outlined: (H, W, 3) uint8.

    image: (H, W) uint8 or uint16. mask: (H, W) integer, 0 background. strength: share of the colour
    inside an instance, 0 to 1. Neighbouring labels get colours far apart.
    Raises PictureError if the shapes differ.
    """
    if image.shape != mask.shape:
        msg = f"expected image and mask of one size, got {image.shape} and {mask.shape}"
        raise PictureError(msg)
    labels, inverse = np.unique(mask, return_inverse=True)
    colours = _colours(labels)
    tint = colours[inverse.reshape(mask.shape)]
    share = np.where(mask > 0, strength, 0.0)[..., None]
    # The outline is the innermost ring of pixels, so touching instances stay parted by two.
    share = np.where((_edges(mask) & (mask > 0))[..., None], 1.0, share)
    drawn = grey(image) * (1.0 - share) + tint * share
    return drawn.round().astype(np.uint8)


def sheet(
    rows: Sequence[Sequence[npt.NDArray[np.uint8]]],
    *,
    titles: Sequence[str] = (),
    gap_px: int = 4,
) -> npt.NDArray[np.uint8]:
    """Tiles (H, W, 3) uint8 of one size, row by row, on white: (height, width, 3) uint8.

    titles: one for each column, or none. Rows may be of different length.
    Raises PictureError if there is no tile or if the sizes differ.
    """
    sizes = {tile.shape for row in rows for tile in row}
    if len(sizes) != 1:
        msg = f"expected tiles of one size, got {sorted(sizes) or 'no tile'}"
        raise PictureError(msg)
    (height, width, _) = sizes.pop()
    columns = max(len(row) for row in rows)
    top = TITLE_PX if titles else 0
    canvas = np.full(
        (top + len(rows) * (height + gap_px) + gap_px, columns * (width + gap_px) + gap_px, 3),
        255,
        dtype=np.uint8,
    )
    for r, row in enumerate(rows):
        for c, tile in enumerate(row):
            y, x = top + gap_px + r * (height + gap_px), gap_px + c * (width + gap_px)
            canvas[y : y + height, x : x + width] = tile
    return _titled(canvas, titles, step=width + gap_px, left=gap_px) if titles else canvas


def save_sheet(path: str | Path, pixels: npt.NDArray[np.uint8]) -> Path:
    """Write a sheet as PNG, whole or not at all; returns the path.

    Raises StoreError if it cannot be written.
    """
    from PIL import Image

    path = Path(path)
    with whole_file(path) as partial:
        Image.fromarray(pixels).save(partial, format="PNG")
    return path


def _colours(labels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Bright colours (n, 3), 0 to 255: hues a golden ratio apart, so that neighbours differ."""
    hue = (labels.astype(np.float64) * GOLDEN) % 1.0
    sector = (hue[:, None] * 6.0 + np.array([5.0, 3.0, 1.0])) % 6.0
    return 255.0 * (1.0 - np.clip(np.minimum(sector, 4.0 - sector), 0.0, 1.0))


def _edges(mask: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Pixels with one of four neighbours of another label: (H, W) bool."""
    edges = np.zeros(mask.shape, dtype=bool)
    down, right = mask[1:] != mask[:-1], mask[:, 1:] != mask[:, :-1]
    edges[1:] |= down
    edges[:-1] |= down
    edges[:, 1:] |= right
    edges[:, :-1] |= right
    return edges


def _titled(canvas: npt.NDArray[np.uint8], titles: Sequence[str], *, step: int, left: int) -> npt.NDArray[np.uint8]:
    from PIL import Image, ImageDraw

    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    for column, title in enumerate(titles):
        draw.text((left + column * step + 2, 4), title, fill=(20, 20, 20), font_size=14)
    return np.asarray(picture)
