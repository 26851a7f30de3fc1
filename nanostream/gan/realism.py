"""How real rendered pictures are, in numbers that a person can check.

Five measures, each with its floor: the same measure between two halves of the real pictures, the mean over many ways
to halve them. Halves differ from each other about twice as much as either from the whole, so that many pictures of the
same microscope and sample would get about half of the floor in the four distances; few get the floor. A difference of
less than the floor is not to be told from chance in what pictures happened to be taken.

grey      Wasserstein-1 distance of the distributions of grey levels, in levels of 255: by how much a pixel's level must
          be moved, on average, to make one distribution the other. It tells of brightness, contrast and how much of
          the picture particles cover, and not of where the pixels lie.
spectrum  Mean difference of the radially averaged power spectra, in decibels, over all spatial frequencies. It tells of
          blur, noise, grain and sizes, and not of phase: a picture and its scrambled twin are alike.
edges     Mean difference of the grey level at -12 to 12 pixels from the outlines of bright regions, in percent of the
          contrast: 0 is the ground's mean level and 100 the particles', each tile's own. It tells of bright rims, dark
          halos and blur, and not of brightness, which `grey` has. Outlines are Otsu's: particles that touch are one
          region, and dark particles on bright ground are taken for ground.
noise     Mean difference of the noise's deviation over all brightnesses that real pictures have, in levels. It tells of
          shot and read-out noise. Fine texture counts as noise, noise that is blurred over many pixels does not.
two_sample  Accuracy at which a small network tells unseen real patches from rendered ones; 0.5 is chance. It sees
          whatever the others do not, and does not say what. With eight real pictures chance moves it by some 0.05, and
          the floor, which has half as many to learn from, by 0.1.

All of them compare in the pixels of the pictures as they are: render at the pixel size of the real ones. Resampling
would hide noise and blur, so nothing is resampled here. Scenes count too: sizes, crowding and shapes differ between
sets of pictures, and no texture makes up for that.

Legend: m = pictures, H, W = height and width in pixels.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from nanostream.errors import PictureError
from nanostream.gan.realism_curves import DISTANCES, LEVELS, NOISE_LEVELS, PATCH_PX, TILE_PX, Curves, Means, describe
from nanostream.gan.realism_result import MEASURES, Curve, Measure, Realism

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = [
    "MEASURES",
    "PATCH_PX",
    "Curve",
    "Curves",
    "Measure",
    "Realism",
    "compare",
    "describe",
    "distances",
    "measure",
]

_SPLITS = 64
"""Halvings of the real pictures that floors and values are averaged over; eight pictures have 35."""
_LEAST_FOR_NETWORK = 4


def measure(
    real: Sequence[npt.NDArray[Any]],
    rendered: Sequence[npt.NDArray[Any]],
    *,
    seed: int = 0,
    two_sample: bool = True,
    device: str = "cpu",
) -> Realism:
    """Realism of rendered pictures against real ones, each (H, W) uint8 or uint16, or floating in [0, 1].

    Footers must be cut off. At least two pictures of each, of at least 128x128 pixels, at one pixel size; all are cut
    into tiles of the smallest one's edge, at most 256. two_sample: whether to train the network, about two minutes of
    one core; without it some 8 ms a tile. During a fit, keep `describe(real)` and use `compare`. The same arguments
    give the same numbers on one machine. Raises PictureError for fewer or smaller pictures.
    """
    tile_px = min([TILE_PX, *(min(picture.shape) for picture in (*real, *rendered))])
    if tile_px < PATCH_PX:
        msg = f"expected pictures of at least {PATCH_PX}x{PATCH_PX} pixels, got one with an edge of {tile_px}"
        raise PictureError(msg + ": leave it out, or render larger ones")
    result = compare(describe(real, tile_px=tile_px), describe(rendered, tile_px=tile_px), seed=seed)
    if not two_sample:
        return result
    return dataclasses.replace(result, two_sample=_two_sample(real, rendered, seed=seed, device=device))


def compare(real: Curves, rendered: Curves, *, seed: int = 0) -> Realism:
    """The four distances alone, from descriptions with one `tile_px`; milliseconds.

    The value is the distance from all real pictures, its spread that of the distances from halves of them; the floor
    is the mean distance of one half from the other. Raises PictureError if there are fewer than two real pictures or
    the tiles differ.
    """
    if len(real) < 2 or real.tile_px != rendered.tile_px:  # noqa: PLR2004 - a floor needs two halves
        msg = (
            f"expected at least two real pictures, and tiles of one size, got {len(real)} pictures and tiles of "
            f"{real.tile_px} and {rendered.tile_px} pixels: add pictures, or describe both sets alike"
        )
        raise PictureError(msg)
    whole, reference = rendered.means(), real.means()
    values = distances(reference, whole)
    nears, floors = [], []
    for half, rest in _halvings(len(real), np.random.default_rng(seed)):
        one, other = real.means(half), real.means(rest)
        floors.append(distances(one, other))
        nears += [distances(one, whole), distances(other, whole)]
    measures = {
        name: Measure(
            value=value,
            spread=float(np.std([each[name] for each in nears])),
            floor=float(np.mean([each[name] for each in floors])),
            floor_spread=float(np.std([each[name] for each in floors])),
        )
        for name, value in values.items()
    }
    return Realism(
        **measures,
        two_sample=None,
        real_pictures=len(real),
        rendered_pictures=len(rendered),
        tile_px=real.tile_px,
        curves=_curves(reference, whole, real.tile_px),
    )


def distances(real: Means, other: Means) -> dict[str, float]:
    """The four distances of mean curves; noise over the brightnesses that `real` has."""
    shown = ~np.isnan(real.noise)
    known = ~np.isnan(other.noise)
    # Brightness that the other set lacks has the noise of the nearest that it has.
    noise = np.interp(NOISE_LEVELS[shown], NOISE_LEVELS[known], other.noise[known])
    return {
        "grey": float(np.abs(np.cumsum(real.grey - other.grey)).sum()),
        "spectrum": float(np.abs(real.spectrum - other.spectrum).mean()),
        "edges": float(np.abs(real.edges - other.edges).mean()),
        "noise": float(np.abs(real.noise[shown] - noise).mean()),
    }


def _halvings(n: int, rng: np.random.Generator) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Ways to cut 0..n-1 into two halves; all of them if they are few. An odd number has a smaller half."""
    if math.comb(n, n // 2) <= 2 * _SPLITS:
        chosen = [np.array(half) for half in itertools.combinations(range(n), n // 2)]
        halves = [(half, np.setdiff1d(np.arange(n), half)) for half in chosen if n % 2 or half[0] == 0]
    else:
        orders = (rng.permutation(n) for _ in range(_SPLITS))
        halves = [(order[: n // 2], order[n // 2 :]) for order in orders]
    return halves


def _two_sample(
    real: Sequence[npt.NDArray[Any]], rendered: Sequence[npt.NDArray[Any]], *, seed: int, device: str
) -> Measure:
    from nanostream.gan.realism_two_sample import accuracies

    pictures = list(real)
    if len(pictures) < _LEAST_FOR_NETWORK:
        # Each half of the real pictures needs one to learn from and one unseen: parts stand in for pictures.
        pictures = [part for picture in pictures for part in _parts(picture)]
    values = accuracies(pictures, rendered, seed=seed, device=device)
    rng = np.random.default_rng(seed)
    floors = []
    for turn in range(len(values)):
        halves = np.array_split(rng.permutation(len(pictures)), 2)
        one, other = ([pictures[k] for k in half] for half in halves)
        floors.append(float(accuracies(one, other, seed=seed + turn, splits=1, device=device)[0]))
    return Measure(
        value=float(values.mean()),
        spread=float(values.std()),
        floor=float(np.mean(floors)),
        floor_spread=float(np.std(floors)),
    )


def _parts(picture: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Two halves of a picture along its longer edge; raises PictureError if they are smaller than a patch."""
    axis = int(np.argmax(picture.shape))
    parts = np.array_split(picture, 2, axis=axis)
    if min(min(part.shape) for part in parts) < PATCH_PX:
        msg = (
            f"expected at least {_LEAST_FOR_NETWORK} real pictures, or larger ones than "
            f"{picture.shape[0]}x{picture.shape[1]}, for the two-sample test: add pictures"
        )
        raise PictureError(msg)
    return parts


def _curves(real: Means, rendered: Means, tile_px: int) -> tuple[Curve, ...]:
    x = {
        "grey": np.arange(LEVELS),
        "spectrum": np.arange(1, tile_px // 2 + 1) / tile_px,
        "edges": DISTANCES,
        "noise": NOISE_LEVELS,
    }
    return tuple(
        Curve(name=name, x=at.astype(np.float64), real=getattr(real, name), rendered=getattr(rendered, name))
        for name, at in x.items()
    )
