"""Sizes and shapes of the particles in a label picture.

Legend: H, W = height and width in pixels, n = particles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nanostream.errors import PictureError
from nanostream.segment.feret import feret_diameters

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["PARTICLE_COLUMNS", "equivalent_diameter", "measure"]

PARTICLE_COLUMNS = {
    "label": "value of the particle's pixels in the label picture",
    "x_px": "column of the centroid, from the middle of the first one",
    "y_px": "row of the centroid, from the middle of the first one",
    "area_nm2": "area that is seen",
    "diameter_nm": "diameter of the disc of that area (ISO 9276-6)",
    "feret_min_nm": "least distance of two parallel lines that enclose the particle (ISO 9276-6)",
    "feret_max_nm": "greatest distance of two such lines (ISO 9276-6)",
    "aspect_ratio": "feret_max_nm / feret_min_nm, from 1",
    "circularity": "4 pi area / perimeter^2 with Crofton's perimeter; about 1 for a disc",
    "solidity": "area / area of the convex hull, up to 1",
    "touches_border": "1 where the picture's border cuts the particle or may do so, else 0",
    "weight": "1 / share of the picture's places where the particle would not touch the border; 0 if it does",
}
"""Columns of the particle table, one entry a particle."""


def equivalent_diameter(mask: npt.NDArray[Any], pixel_nm: float) -> npt.NDArray[np.float64]:
    """Diameter in nm of the disc with each particle's area.

    mask: (H, W) integer, 0 background. pixel_nm: edge of a pixel in nm.
    Returns (n,) float64 in label order. Raises PictureError if mask is not integer.
    ISO 9276-6, area-equivalent diameter.
    """
    if not np.issubdtype(mask.dtype, np.integer):
        msg = f"expected a mask of whole numbers, got {mask.dtype}: label the picture first"
        raise PictureError(msg)
    labels, area_px = np.unique(mask, return_counts=True)
    return np.sqrt(4.0 / np.pi * area_px[labels > 0]) * pixel_nm


def measure(labels: npt.NDArray[Any], *, pixel_nm: float) -> dict[str, npt.NDArray[Any]]:
    """Table of the particles of one picture: PARTICLE_COLUMNS, each (n,), in label order.

    labels: (H, W) integer, 0 background. pixel_nm: edge of a pixel in nm. What scikit-image measures, it measures.
    The weights correct for what the border cuts: of the particles that lie in a picture in part, large ones touch
    the border more often (Miles 1974 and Lantuejoul 1978, as in Serra 1982, "Image Analysis and Mathematical
    Morphology", chapter VIII).
    """
    from skimage.measure import regionprops

    height, width = labels.shape
    rows: list[tuple[float, ...]] = []
    for region in regionprops(labels):
        feret_min, feret_max = feret_diameters(region.image)
        top, left, bottom, right = region.bbox
        touches = top == 0 or left == 0 or bottom == height or right == width
        # A box of h x w pixels has (H - h - 1) (W - w - 1) places where no pixel of it is the picture's outermost.
        places = (height - (bottom - top) - 1) * (width - (right - left) - 1)
        rows.append(
            (
                region.label,
                region.centroid[1],
                region.centroid[0],
                region.area * pixel_nm**2,
                region.equivalent_diameter_area * pixel_nm,
                feret_min * pixel_nm,
                feret_max * pixel_nm,
                feret_max / feret_min,
                4 * np.pi * region.area / region.perimeter_crofton**2,
                region.solidity,
                touches,
                0.0 if touches else height * width / places,
            )
        )
    table = np.array(rows, dtype=np.float64).reshape(-1, len(PARTICLE_COLUMNS))
    columns: dict[str, npt.NDArray[Any]] = dict(zip(PARTICLE_COLUMNS, table.T, strict=True))
    return columns | {name: columns[name].astype(np.int64) for name in ("label", "touches_border")}
