"""One rendered sample: image, instance mask and what is known of each particle.

Legend: H, W = picture height and width in pixels, n = particles in the mask.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["PARTICLE_COLUMNS", "Sample"]

PARTICLE_COLUMNS = {
    "label": "value of the particle's pixels in the mask, 1..n",
    "x_px": "column of the particle's centre, in pixels from the picture's left edge",
    "y_px": "row of the particle's centre, in pixels from the picture's upper edge",
    "z_nm": "height of the particle's centre over the ground, in nm",
    "diameter_nm": "diameter of the sphere with the particle's volume, in nm (wires: of the wire)",
    "length_nm": "longest extent of the particle, in nm",
    "visible_px": "pixels of the particle in the mask",
    "hidden_fraction": "share of the particle's own outline inside the picture that others cover",
    "cut": "whether the picture's border cuts the particle",
}
"""Columns of `meta["particles"]`, each a list with one entry a particle that is seen."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Image and mask of one index of a stream.

    image: (H, W) uint8. mask: (H, W) uint16, 0 background, 1..n particles, numbered without gaps.
    meta: plain JSON values: `recipe` and `build` (hashes), `backend`, `seed`, `index`, `pixel_nm`
    and `particles` (PARTICLE_COLUMNS to lists of length n).
    """

    seed: int
    index: int
    image: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint16]
    meta: dict[str, Any]

    def digest(self) -> str:
        """SHA-256 over image, mask and metadata: equal digests mean equal samples."""
        sha = hashlib.sha256()
        for array in (self.image, self.mask):
            sha.update(f"{array.dtype.str}{array.shape}".encode())
            sha.update(array.tobytes())
        sha.update(json.dumps(self.meta, sort_keys=True, allow_nan=False).encode())
        return sha.hexdigest()

    @property
    def nbytes(self) -> int:
        """Bytes of image and mask."""
        return self.image.nbytes + self.mask.nbytes
