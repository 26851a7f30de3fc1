"""What patches look like in differentiable numbers, and how far two populations of patches are apart in them.

A discriminator sees one patch at a time, and with few pictures it can lead astray; these are about the whole
population: its spread counts as much as its middle.

Legend: B = patches, P = edge of a patch in pixels, f = numbers of one kind.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from nanostream.gan.exposure import blurred

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Scales", "describe_all", "describe_patches", "energy_distance"]

_GREY_SHARES = (0.01, 0.04, 0.1, 0.2, 0.35, 0.5, 0.65, 0.75, 0.82, 0.88, 0.92, 0.95, 0.97, 0.985, 0.995, 1.0)
_TAIL_SHARES = (0.002, 0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 0.998, 1.0)
_BANDS = 20
_NOISE_LEVELS = (0.06, 0.1, 0.14, 0.2, 0.28, 0.38, 0.5, 0.64, 0.8)
"""Brightness at which the noise is looked at, in full scale."""
_BLOCK_PX = 8
_PIECE_PX = 8
_LINE_LEVELS = (0.2, 0.4)
_PART = 32
_LAPLACIAN = ((1, -2, 1), (-2, 4, -2), (1, -2, 1))
"""Keeps white noise, times 6, and removes planes and most edges (Immerkaer, CVIU 64:300, 1996)."""


def describe_patches(patches: torch.Tensor) -> dict[str, torch.Tensor]:
    """Numbers of each patch by kind, (B, f), of patches (B, P, P) in [0, 1].

    grey: means between quantiles of the square root. spectrum: logarithms of the power in rings. fine, middle, coarse:
    means between quantiles of differences of gaussians, where rims, ridges and blur show. noise: what a Laplacian
    leaves, apart by brightness. lines: differences between neighbouring rows and columns, likewise.
    """
    root = torch.sqrt(patches + 1e-4)
    smooth = [patches, *(blurred(patches, torch.full((len(patches),), sd)) for sd in (0.8, 1.6, 3.2))]
    bands = [_signed_root(one - other) for one, other in itertools.pairwise(smooth)]
    kinds = {
        name: _between_quantiles(b, _TAIL_SHARES) for name, b in zip(("fine", "middle", "coarse"), bands, strict=True)
    }
    return {
        "grey": _between_quantiles(root, _GREY_SHARES),
        "spectrum": _spectrum(patches),
        **kinds,
        "noise": _noise(patches),
        "lines": _lines(patches),
    }


def describe_all(patches: npt.NDArray[np.float32]) -> dict[str, torch.Tensor]:
    """The same of many patches, a few at a time and without gradients."""
    with torch.no_grad():
        parts = [describe_patches(part) for part in torch.from_numpy(patches).split(_PART)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


class Scales:
    """Makes numbers of different kinds comparable: by their spread among real patches."""

    def __init__(self, real: dict[str, torch.Tensor]) -> None:
        self._mean = {name: values.mean(0) for name, values in real.items()}
        # Numbers that hardly vary must not count without limit.
        self._sd = {name: values.std(0) + 0.05 * values.std(0).max() + 1e-6 for name, values in real.items()}

    def __call__(self, numbers: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The same with mean 0 and deviation 1 in the real patches, and unit length for each kind."""
        return {
            name: (values - self._mean[name]) / self._sd[name] / math.sqrt(values.shape[1])
            for name, values in numbers.items()
        }


def energy_distance(
    one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], *, biased: bool = False
) -> torch.Tensor:
    """Sum over kinds of the energy distance of two populations (Szekely and Rizzo 2013).

    0 on average if they are the same, whatever the numbers of patches: small batches will do. biased: with what
    chance adds to populations of this size, and never below 0.
    """
    total = torch.zeros(())
    for name, x in one.items():
        y = other[name]
        total = total + 2 * _apart(x, y).mean() - _within(x, biased=biased) - _within(y, biased=biased)
    return total


def _within(x: torch.Tensor, *, biased: bool) -> torch.Tensor:
    pairs = len(x) * (len(x) - (0 if biased else 1))
    return _apart(x, x).sum() / max(pairs, 1)


def _apart(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    # Not cdist: its gradient where two are equal is not a number.
    return torch.sqrt((x[:, None] - y[None]).square().sum(-1) + 1e-8) - 1e-4


def _between_quantiles(values: torch.Tensor, shares: tuple[float, ...]) -> torch.Tensor:
    ordered = values.flatten(1).sort(dim=1).values
    ends = [0, *(max(k + 1, round(share * ordered.shape[1])) for k, share in enumerate(shares))]
    return torch.stack([ordered[:, a:b].mean(1) for a, b in itertools.pairwise(ends)], dim=1)


def _signed_root(x: torch.Tensor) -> torch.Tensor:
    # Tames the bright tail; smooth at 0.
    return x / torch.sqrt(x.abs() + 0.01)


def _spectrum(patches: torch.Tensor) -> torch.Tensor:
    P = patches.shape[-1]
    window = torch.hann_window(P, periodic=False)
    window = window[:, None] * window
    level = patches.mean((1, 2), keepdim=True)
    power = torch.fft.rfft2((patches - level) * window).abs().square() / window.square().sum()
    ring = _rings(P)
    sums = torch.zeros(len(patches), _BANDS + 1).index_add(1, ring, power.flatten(1))[:, :_BANDS]
    count = torch.bincount(ring, minlength=_BANDS + 1)[:_BANDS].clamp_min(1)
    # A tenth of the power that rounding to 8 bits makes: a floor for pictures without noise.
    return torch.log(sums / count + 0.1 / (12 * 255**2))


def _rings(P: int) -> torch.Tensor:
    """Ring of each frequency of a half spectrum, flattened; _BANDS for those in none."""
    radius = np.hypot(np.fft.fftfreq(P)[:, None] * P, np.fft.rfftfreq(P)[None] * P).ravel()
    edges = np.unique(np.round(np.geomspace(1, P / 2 + 1, _BANDS + 1)))
    ring = np.digitize(radius, edges) - 1
    ring[(ring < 0) | (ring >= len(edges) - 1)] = _BANDS
    return torch.from_numpy(ring)


def _noise(patches: torch.Tensor) -> torch.Tensor:
    kernel = torch.tensor(_LAPLACIAN, dtype=patches.dtype)[None, None] / 6
    residual = functional.conv2d(patches[:, None], kernel, padding=1).abs()
    level, residual = (
        functional.avg_pool2d(patches[:, None], _BLOCK_PX).flatten(1),
        functional.avg_pool2d(residual, _BLOCK_PX).flatten(1),
    )
    centres = torch.tensor(_NOISE_LEVELS)
    weight = torch.softmax(-0.5 * (((level[..., None] + 1e-3) / centres).log() / 0.2).square(), dim=-1)
    return torch.sqrt((weight * residual[..., None]).mean(1) + 1e-7)


def _lines(patches: torch.Tensor) -> torch.Tensor:
    # Scan lines show where short pieces of rows differ from those above and below; columns tell texture from lines.
    found = []
    for turned in (patches, patches.transpose(1, 2)):
        pieces = functional.avg_pool2d(turned[:, None], (1, _PIECE_PX))[:, 0]
        bent = (pieces[:, 1:-1] - (pieces[:, :-2] + pieces[:, 2:]) / 2).abs()[..., None]
        bright = torch.sigmoid((pieces[:, 1:-1, :, None] - torch.tensor(_LINE_LEVELS)) / 0.03)
        found += [
            torch.sqrt((bent * bright).mean((1, 2)) + 1e-8),
            torch.sqrt((bent * (1 - bright)).mean((1, 2)) + 1e-8),
        ]
    return torch.cat(found, dim=1)
