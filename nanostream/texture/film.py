"""The film under the particles and the particles' skin, as brightness relative to a smooth surface.

Written once for numpy, which renders, and for torch, which learns: `xp` is the module, and every number may be an
array of one a picture, shaped (..., 1, 1).

Legend: H, W = picture height and width in pixels, F = LAYERS fields of random numbers, d = distance to a contour.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

__all__ = ["LAYERS", "draw_noise", "film_relief", "skin_relief"]

LAYERS = 9
"""Fields of white noise that one picture takes."""

_BYTE_SD = float(np.sqrt((256**2 - 1) / 12))
_SOFT = 0.25
"""Width of the border between where ridges show and where they do not, in standard deviations of its field."""
_FINER = 0.4
"""Size of what makes contours ragged, relative to what they enclose."""
_FAINT = 35.0
"""No gaussian's exponent is larger: products of numbers that are still smaller would be subnormal, for which processors
take far longer."""


def draw_noise(rng: np.random.Generator, *, height: int, width: int) -> npt.NDArray[np.complex64]:
    """Spectra of F fields of white noise of unit variance, (F, H, W // 2 + 1).

    Drawn as spectra, which saves transforming them. Even bytes serve: smoothing makes their sum normal, and normal
    numbers would take longer than all the rest.
    """
    half = width // 2 + 1
    # In words of 64 bits: `rng.bytes` gives the same ones in more time.
    count = LAYERS * height * half * 2
    words = rng.integers(2**64 - 1, size=-(-count // 8), dtype=np.uint64, endpoint=True)
    even = words.astype("<u8", copy=False).view(np.uint8)[:count].astype(np.float32)
    scale = np.sqrt(height * width / 2) / _BYTE_SD
    even -= np.float32(127.5)
    even *= np.float32(scale)
    spectra = even.view(np.complex64).reshape(LAYERS, height, half)
    # Real fields have spectra that are their own mirror images, which shows where a half spectrum holds both sides.
    for column in (0,) if width % 2 else (0, width // 2):
        one = spectra[..., column]
        mirrored = np.roll(one[:, ::-1], 1, axis=1).conj()
        spectra[..., column] = (one + mirrored) * np.float32(np.sqrt(0.5))
    return spectra


def film_relief(values: Mapping[str, Any], noise: Any, *, width: int, pixel_nm: float, light: Any, xp: Any) -> Any:
    """(..., H, W) brightness of the ground relative to a flat one.

    values: effects by name. noise: (..., F, H, W // 2 + 1). light: direction in radians that ridges face.
    """

    def smoothed(layer: int, size_nm: Any, *, ragged: Any = None) -> Any:
        return _smoothed(noise[..., layer, :, :], size_nm / pixel_nm, width=width, ragged=ragged, xp=xp)

    # Spectra are added, so that one transform does for three fields.
    spectrum = values["grain"] * smoothed(0, values["grain_nm"]) + values["mottle"] * smoothed(1, values["mottle_nm"])
    slopes = _sloping(noise[..., 8, :, :], values["waves_nm"] / pixel_nm, light, width=width, xp=xp)
    relief = 1 + _field(spectrum + values["waves"] * slopes, width, xp)
    for layer, kind in ((2, "islands"), (4, "wrinkles")):
        size_nm = values[f"{kind}_nm"]
        above = _field(smoothed(layer, size_nm, ragged=values["ragged"]), width, xp) - values[f"{kind}_level"]
        right = (xp.roll(above, -1, -1) - xp.roll(above, 1, -1)) / 2
        down = (xp.roll(above, -1, -2) - xp.roll(above, 1, -2)) / 2
        slope = xp.sqrt(right * right + down * down + (0.05 * pixel_nm / size_nm) ** 2)
        d = above / slope * (pixel_nm / values[f"{kind}_width_nm"])
        facing = (right * xp.cos(light) + down * xp.sin(light)) / slope
        ridge = values[kind] * xp.exp(-(d * d).clip(max=_FAINT)) * (1 + values[f"{kind}_facing"] * (facing - 1))
        inside = values[f"{kind}_step"] * _logistic(d, xp)
        where = _field(smoothed(layer + 1, size_nm), width, xp)
        shown = _logistic((where - values[f"{kind}_shown"]) / _SOFT, xp)
        relief = relief + shown * (ridge + inside)
    return _not_negative(relief)


def skin_relief(values: Mapping[str, Any], noise: Any, *, width: int, pixel_nm: float, xp: Any) -> Any:
    """(..., H, W) brightness of the particles relative to a smooth surface: mottling, and streaks along the rows."""
    size, length = values["skin_nm"] / pixel_nm, values["streak_nm"] / pixel_nm
    mottle = _smoothed(noise[..., 6, :, :], size, width=width, xp=xp)
    streak = _smoothed(noise[..., 7, :, :], length, width=width, rows_alone=True, xp=xp)
    return _not_negative(1 + _field(values["skin"] * mottle + values["streak"] * streak, width, xp))


def _field(spectrum: Any, width: int, xp: Any) -> Any:
    """(..., H, W) of (..., H, W // 2 + 1)."""
    # SciPy's transform takes several rows at a time: a third of NumPy's time.
    import scipy.fft

    transform = scipy.fft.irfft2 if xp is np else xp.fft.irfft2
    return transform(spectrum, s=(spectrum.shape[-2], width))


def _smoothed(spectrum: Any, size: Any, *, width: int, ragged: Any = None, rows_alone: bool = False, xp: Any) -> Any:
    """Spectrum (..., H, W // 2 + 1) of a field of zero mean and unit variance with gaussian correlation, from noise's.

    size: its standard deviation in pixels. ragged: how much of a finer field is in it. rows_alone: each row on its own.
    """
    kept, power = 0.0, 0.0
    parts = [(1.0, size)] if ragged is None else [(1.0, size), (ragged, _FINER * size)]
    rows, columns, half = _frequencies(spectrum.shape[-2], width, xp)
    for share, one in parts:
        kept = kept + share * _gauss(0 * one if rows_alone else one, rows, xp) * _gauss(one, half, xp)
        for other_share, other in parts:
            both = xp.sqrt((one * one + other * other) / 2)
            down = _gauss(0 * both if rows_alone else both, rows, xp)
            along = _gauss(both, columns, xp)
            # The product of two gaussians is one again, squared.
            power = power + share * other_share * (down * down).mean(-2, keepdims=True) * (along * along).mean(
                -1, keepdims=True
            )
    return spectrum * (kept / xp.sqrt(power))


def _sloping(spectrum: Any, size: Any, light: Any, *, width: int, xp: Any) -> Any:
    """Spectrum of the slope of a smooth field towards the light, of unit variance: waves lit from one side."""
    rows, columns, half = _frequencies(spectrum.shape[-2], width, xp)
    down, right = xp.sin(light), xp.cos(light)
    steep = down * rows * _gauss(size, rows, xp) * _gauss(size, half, xp)
    steep = steep + right * _gauss(size, rows, xp) * half * _gauss(size, half, xp)
    flat = [(_gauss(size, axis, xp) ** 2).mean(of, keepdims=True) for axis, of in ((rows, -2), (columns, -1))]
    tilted = [
        ((axis * _gauss(size, axis, xp)) ** 2).mean(of, keepdims=True) for axis, of in ((rows, -2), (columns, -1))
    ]
    power = down * down * tilted[0] * flat[1] + right * right * flat[0] * tilted[1]
    return spectrum * (1j * steep / xp.sqrt(power))


def _gauss(size: Any, frequency: Any, xp: Any) -> Any:
    return xp.exp(-(0.5 * (size * frequency) ** 2).clip(max=_FAINT))


def _frequencies(height: int, width: int, xp: Any) -> tuple[Any, Any, Any]:
    """Angular frequencies down (H, 1), across (1, W), and across in a half spectrum."""
    down, across, half = _angular(height, width)
    return xp.asarray(down), xp.asarray(across), xp.asarray(half)


@functools.lru_cache(maxsize=8)
def _angular(height: int, width: int) -> tuple[npt.NDArray[np.float32], ...]:
    down, across, half = np.fft.fftfreq(height), np.fft.fftfreq(width), np.fft.rfftfreq(width)
    return tuple((2 * np.pi * each).astype(np.float32) for each in (down[:, None], across[None], half[None]))


def _logistic(x: Any, xp: Any) -> Any:
    # By tanh: it cannot overflow.
    return 0.5 * (1 + xp.tanh(0.5 * x))


def _not_negative(x: Any) -> Any:
    return 0.5 * (x + abs(x))
