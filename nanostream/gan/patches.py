"""Patches of real pictures, chosen by how much of each particles cover.

Legend: B = patches wanted, P = edge of a patch in pixels, m = patches that there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.ndimage
import skimage.filters

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = ["RealPatches", "covered"]

_CANDIDATES = 8
"""Places looked at for each patch wanted."""

_SMOOTH_PX = 1.0
_LEAST_CONTRAST = 4.0
"""Otsu's two classes are particles and ground if their means differ by this many deviations of the darker one."""


def covered(picture: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """About where particles are, (H, W): what is bright after smoothing, by Otsu's threshold of the square root."""
    smooth = np.sqrt(np.maximum(scipy.ndimage.gaussian_filter(picture, _SMOOTH_PX), 0))
    bright = smooth > skimage.filters.threshold_otsu(smooth)
    if not bright.any() or bright.all():
        return np.zeros_like(bright)
    apart = smooth[bright].mean() - smooth[~bright].mean()
    return bright if apart > _LEAST_CONTRAST * smooth[~bright].std() else np.zeros_like(bright)


class RealPatches:
    """Patches cut once from anywhere in pictures, (H, W) float32 in [0, 1] each, and drawn from again and again.

    pictures: (m, P, P) float32. crowded: (m,) share that particles cover.
    """

    def __init__(
        self, pictures: Sequence[npt.NDArray[np.float32]], *, patch_px: int, count: int, rng: np.random.Generator
    ) -> None:
        P = patch_px
        # Every picture gives as many, at places of its own.
        masks = [covered(picture) for picture in pictures]
        cut, crowded = [], []
        for k in (number % len(pictures) for number in range(count)):
            top, left = (int(rng.integers(size - P + 1)) for size in pictures[k].shape)
            place = np.s_[top : top + P, left : left + P]
            cut.append(pictures[k][place])
            crowded.append(masks[k][place].mean())
        self.pictures, self.crowded = np.stack(cut), np.array(crowded)

    def like(self, crowded: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Numbers of patches about as crowded as wanted, (B,), each once; by chance among those that come near."""
        candidates = rng.permutation(len(self.crowded))[: _CANDIDATES * len(crowded)]
        free = np.ones(len(candidates), bool)
        chosen = []
        for wanted in crowded:
            nearest = int(np.argmin(np.where(free, np.abs(self.crowded[candidates] - wanted), np.inf)))
            free[nearest] = False
            chosen.append(candidates[nearest])
        return np.array(chosen)

    def flipped(
        self, which: npt.NDArray[np.int64], rng: np.random.Generator, *, turns: bool = False
    ) -> npt.NDArray[np.float32]:
        """(B, P, P) patches of those numbers, flipped at random.

        turns: with quarter turns too. Scan lines are rows, which a turn makes columns, that no detector leaves.
        """
        patches = []
        for patch, (across, down, turn) in zip(
            self.pictures[which], rng.integers(2, size=(len(which), 3)), strict=True
        ):
            flipped = patch[:: 1 - 2 * down, :: 1 - 2 * across]
            patches.append(flipped.T if turns and turn else flipped)
        return np.stack(patches)
