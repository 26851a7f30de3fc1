"""From radiance to the detector's 8-bit picture: blur, gain, shot, read-out and line noise, quantisation.

Full scale is 1. Noise is added before the gain's offset is, as electrons are counted before they are amplified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pydantic
import scipy.ndimage

from nanostream.texture.spread import Spread

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Detector"]


class Detector(pydantic.BaseModel):
    """Distributions of the detector's settings over pictures; each picture draws its own."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    blur_px: Spread = Spread(mean=0.0, low=0.0)
    """Standard deviation of the gaussian point spread."""
    gain: Spread = Spread(mean=1.0, low=0.01)
    """Full scale per unit of radiance."""
    gamma: Spread = Spread(mean=1.0, low=0.1)
    """Exponent on the signal, as contrast settings bend it."""
    offset: Spread = Spread(mean=0.0)
    """Brightness setting, in full scale."""
    shot_noise: Spread = Spread(mean=0.0, low=0.0)
    """Variance of the noise per unit of signal."""
    read_noise: Spread = Spread(mean=0.0, low=0.0)
    """Standard deviation of the noise without signal."""
    line_noise: Spread = Spread(mean=0.0, low=0.0)
    """Standard deviation of a scan line's brightness relative to the others."""

    def expose(self, radiance: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """(H, W) float32 radiance to (H, W) uint8."""
        height, width = radiance.shape
        draws = {name: getattr(self, name).one(rng) for name in type(self).model_fields}
        signal = radiance
        if draws["blur_px"] > 0:
            signal = scipy.ndimage.gaussian_filter(signal, draws["blur_px"], mode="nearest", truncate=3)
        signal = np.maximum(signal * np.float32(draws["gain"]), 0)
        if draws["gamma"] != 1:
            signal = signal ** np.float32(draws["gamma"])
        sd = np.sqrt(np.float32(draws["shot_noise"]) * signal + np.float32(draws["read_noise"] ** 2))
        lines = 1 + np.float32(draws["line_noise"]) * rng.standard_normal((height, 1), np.float32)
        noisy = signal * lines + sd * rng.standard_normal((height, width), np.float32)
        levels = np.rint((noisy + np.float32(draws["offset"])) * 255)
        return np.clip(levels, 0, 255).astype(np.uint8)
