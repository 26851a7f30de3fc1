"""What a set of pictures looks like, as four mean curves that two sets can be compared by.

Nothing here needs a mask: outlines are found on real and rendered pictures alike by smoothing and Otsu's threshold.

Legend: m = pictures, H, W = height and width in pixels, P = edge of a tile in pixels, L = 256 grey levels,
F = P / 2 spatial frequencies, D = distances from an outline, K = bins of brightness.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.ndimage
import skimage.filters
import skimage.morphology

from nanostream.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

__all__ = [
    "DISTANCES",
    "LEVELS",
    "NOISE_LEVELS",
    "PATCH_PX",
    "TILE_PX",
    "Curves",
    "Means",
    "describe",
    "levels",
    "tiles",
]

LEVELS = 256
"""Grey levels are counted from 0 to 255 whatever the bits of a picture."""
PATCH_PX = 128
"""Pictures must have at least this many rows and columns."""
TILE_PX = 256
"""Larger pictures are cut into tiles of at most this edge, so that borders cost large and small ones the same."""
DISTANCES = np.arange(-12, 13)
"""Pixels from the outline, negative on the ground."""
NOISE_LEVELS = np.arange(4, LEVELS, 8)
"""Middle of each bin of local brightness."""

_SMOOTH_PX = 1.5
_SPECK_PX = 50
_LEAST_CONTRAST = 4.0
"""Otsu's two classes count as particles and ground if their means differ by this many deviations of the darker one.
Noise alone gives 2.7."""
_BLOCK_PX = 8
_LAPLACIAN = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6.0
"""Keeps white noise's deviation and removes planes and most edges (Immerkaer, CVIU 64:300, 1996)."""
_NORMAL_MEDIAN = 0.67449
"""Median of a standard normal variable's magnitude."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Means:
    """Mean curves of a set of pictures.

    grey: (L,) shares of the pixels at each level. spectrum: (F,) decibels of 1 squared level at 1..F cycles a tile.
    edges: (D,) percent of the contrast at DISTANCES, 0 where no
    picture has an outline. noise: (K,) deviations in grey levels at NOISE_LEVELS, NaN where the set
    has no such brightness.
    """

    grey: npt.NDArray[np.float64]
    spectrum: npt.NDArray[np.float64]
    edges: npt.NDArray[np.float64]
    noise: npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Curves:
    """Sums over each picture's tiles, from which the mean curves of any of the pictures follow.

    grey: (m, L) pixels. spectrum: (m, F) sums of decibels over the tiles. count: (m,) tiles. edge, edge_px: (m, D)
    sums of percent and numbers of pixels. noise, noise_blocks: (m, K) sums of deviations and numbers of blocks.
    tile_px: P, which is the same for two sets that are compared.
    """

    tile_px: int
    count: npt.NDArray[np.float64]
    grey: npt.NDArray[np.float64]
    spectrum: npt.NDArray[np.float64]
    edge: npt.NDArray[np.float64]
    edge_px: npt.NDArray[np.float64]
    noise: npt.NDArray[np.float64]
    noise_blocks: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.count)

    def means(self, which: npt.NDArray[np.int64] | slice = slice(None)) -> Means:
        """Mean curves of some of the pictures, by default of all."""
        grey = self.grey[which].sum(axis=0)
        grey /= grey.sum()
        blocks = self.noise_blocks[which].sum(axis=0)
        enough = blocks >= max(1.0, 1e-4 * blocks.sum())
        pixels = self.edge_px[which].sum(axis=0)
        return Means(
            grey=grey,
            spectrum=self.spectrum[which].sum(axis=0) / self.count[which].sum(),
            edges=np.where(pixels > 0, self.edge[which].sum(axis=0) / np.maximum(pixels, 1), 0.0),
            noise=np.where(enough, self.noise[which].sum(axis=0) / np.maximum(blocks, 1), np.nan),
        )


def describe(pictures: Sequence[npt.NDArray[Any]], *, tile_px: int = TILE_PX) -> Curves:
    """Curves of pictures, each (H, W) uint8 or uint16, or floating in [0, 1]; about 8 ms a tile of 256x256.

    Raises PictureError if there is no picture, or one is smaller than a tile or not of that kind.
    """
    if not pictures:
        msg = "expected pictures to measure, got none: give at least one"
        raise PictureError(msg)
    sums = [_sums(picture, tile_px) for picture in pictures]
    return Curves(tile_px=tile_px, **{name: np.array([each[name] for each in sums], np.float64) for name in sums[0]})


def levels(picture: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """(H, W) grey levels from 0 to 255 of a picture as `describe` takes it; raises PictureError."""
    if picture.ndim != 2 or picture.dtype.kind not in "uf":  # noqa: PLR2004 - height and width
        msg = f"expected a grey picture (H, W), unsigned or in [0, 1], got {picture.shape} of {picture.dtype}"
        raise PictureError(msg)
    most = np.iinfo(picture.dtype).max if picture.dtype.kind == "u" else 1.0
    scaled = picture * np.float32((LEVELS - 1) / most)
    if not (scaled.min() >= 0 and scaled.max() <= LEVELS - 1 + 1e-3):
        msg = f"expected grey levels in [0, 1], got {picture.min():g} to {picture.max():g}: scale the picture"
        raise PictureError(msg)
    return scaled.astype(np.float32, copy=False)


def tiles(picture: npt.NDArray[np.float32], edge: int) -> Iterator[npt.NDArray[np.float32]]:
    """As many square tiles as fit side by side, spread evenly; raises PictureError if none fits."""
    if min(picture.shape) < edge:
        msg = f"expected pictures of at least {edge}x{edge} pixels, got {picture.shape[0]}x{picture.shape[1]}"
        raise PictureError(msg + ": use larger pictures, or leave it out")
    tops, lefts = (np.linspace(0, size - edge, size // edge).astype(int) for size in picture.shape)
    return (picture[top : top + edge, left : left + edge] for top in tops for left in lefts)


def _sums(picture: npt.NDArray[Any], edge: int) -> dict[str, Any]:
    parts = []
    for tile in tiles(levels(picture), edge):
        profile, profile_px = _profile(tile)
        noise, blocks = _noise(tile)
        grey = np.bincount(np.rint(tile).astype(np.intp).ravel(), minlength=LEVELS)
        parts.append((1.0, grey, _spectrum(tile), profile, profile_px, noise, blocks))
    names = ("count", "grey", "spectrum", "edge", "edge_px", "noise", "noise_blocks")
    return {name: np.sum(column, axis=0) for name, column in zip(names, zip(*parts, strict=True), strict=True)}


def _spectrum(tile: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Decibels of the mean power at each whole spatial frequency from 1 to P / 2, after a Hann window."""
    edge = len(tile)
    window = np.hanning(edge)
    spectrum = np.fft.rfft2((tile - tile.mean()) * np.outer(window, window), norm="ortho")
    across, down = np.fft.rfftfreq(edge, 1 / edge), np.fft.fftfreq(edge, 1 / edge)
    radius = np.rint(np.hypot(down[:, None], across)).astype(int).ravel()
    power = np.bincount(radius, (np.abs(spectrum) ** 2).ravel()) / np.maximum(np.bincount(radius), 1)
    # A thousandth of the power that rounding to whole levels makes: a floor for pictures without noise.
    return 10 * np.log10(power[1 : edge // 2 + 1] + 1e-3 / 12)


def _profile(tile: npt.NDArray[np.float32]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Sum of percent and number of pixels at each distance from the outlines; zeros where there is no outline.

    0 is the mean level outside of all outlines, 100 the mean level inside.
    """
    bright = _bright(tile)
    if bright is None:
        return np.zeros(len(DISTANCES)), np.zeros(len(DISTANCES))
    inside = scipy.ndimage.distance_transform_edt(bright)
    outside = scipy.ndimage.distance_transform_edt(~bright)
    assert isinstance(inside, np.ndarray)
    assert isinstance(outside, np.ndarray)
    # Pixels on either side of an outline are half a pixel from it: 0 is the innermost, -1 the outermost.
    distance = np.where(bright, inside - 1, -outside).round().astype(np.int64) - DISTANCES[0]
    near = (distance >= 0) & (distance < len(DISTANCES))
    count = np.bincount(distance[near], minlength=len(DISTANCES))
    ground, particle = tile[~bright].mean(), tile[bright].mean()
    share = 100 * (tile[near] - ground) / (particle - ground)
    return np.bincount(distance[near], share, minlength=len(DISTANCES)), count


def _bright(tile: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_] | None:
    """What Otsu's threshold takes for particles, without specks and holes; None if it is noise that was parted."""
    smooth = np.asarray(scipy.ndimage.gaussian_filter(tile, _SMOOTH_PX))
    bright = smooth > skimage.filters.threshold_otsu(smooth)
    if not bright.any() or bright.all():
        return None
    ground = smooth[~bright]
    if smooth[bright].mean() - ground.mean() < _LEAST_CONTRAST * ground.std():
        return None
    bright = skimage.morphology.remove_small_objects(bright, max_size=_SPECK_PX - 1)
    bright = skimage.morphology.remove_small_holes(bright, max_size=_SPECK_PX - 1)
    return bright if bright.any() and not bright.all() else None


def _noise(tile: npt.NDArray[np.float32]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Sum over blocks of 8x8 of the noise's deviation, and number of blocks, in each bin of the blocks' mean level."""
    residual = np.abs(scipy.ndimage.convolve(tile, _LAPLACIAN, mode="reflect"))
    side = len(tile) // _BLOCK_PX
    kept = slice(side * _BLOCK_PX)
    blocks = (each[kept, kept].reshape(side, _BLOCK_PX, side, _BLOCK_PX) for each in (tile, residual))
    mean, apart = (block.transpose(0, 2, 1, 3).reshape(side * side, -1) for block in blocks)
    # The median leaves out what an edge through the block adds.
    deviation = np.median(apart, axis=1) / _NORMAL_MEDIAN
    which = np.minimum(mean.mean(axis=1) * len(NOISE_LEVELS) / LEVELS, len(NOISE_LEVELS) - 1).astype(np.intp)
    count = np.bincount(which, minlength=len(NOISE_LEVELS))
    return np.bincount(which, deviation, minlength=len(NOISE_LEVELS)), count
