"""From radiance to the detector's 8-bit picture: blur, gain, shot, read-out and line noise, quantisation.

Full scale is 1. Noise is added before the gain's offset is, as electrons are counted before they are amplified.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pydantic

from nanostream.texture.blur import blur, box
from nanostream.texture.spread import Spread

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Detector", "Exposure"]

_NEIGHBOURS = 2
"""Reach in pixels of the square over which the variance of the rendered light is averaged."""


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

    def draw(self, rng: np.random.Generator) -> Exposure:
        """One picture's settings."""
        return Exposure(**{name: getattr(self, name).one(rng) for name in type(self).model_fields})

    def expose(
        self,
        radiance: npt.NDArray[np.float32],
        rng: np.random.Generator,
        *,
        error: npt.NDArray[np.float32] | None = None,
    ) -> npt.NDArray[np.uint8]:
        """(H, W) float32 radiance to (H, W) uint8, with settings of its own; `error` as `Exposure.expose` has it."""
        return self.draw(rng).expose(radiance, rng, error=error)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """One picture's settings, as `Detector` has their distributions."""

    blur_px: float
    gain: float
    gamma: float
    offset: float
    shot_noise: float
    read_noise: float
    line_noise: float

    def expose(
        self,
        radiance: npt.NDArray[np.float32],
        rng: np.random.Generator,
        *,
        error: npt.NDArray[np.float32] | None = None,
    ) -> npt.NDArray[np.uint8]:
        """(H, W) float32 radiance to (H, W) uint8; `gan.exposure` has the same in torch.

        error: (H, W) float32, as `particles.Light` has it. The noise that is in the radiance already counts towards
        the detector's, which adds only the rest.
        """
        signal = blur(radiance, self.blur_px)
        signal *= np.float32(self.gain)
        np.maximum(signal, 0, out=signal)
        slope = np.float32(self.gain)
        if self.gamma != 1:
            bent = signal ** np.float32(self.gamma)
            slope = slope * np.float32(self.gamma) * bent
            slope /= np.maximum(signal, np.float32(1e-6), out=signal)
            signal = bent
        variance = np.float32(self.shot_noise) * signal
        variance += np.float32(self.read_noise**2)
        if error is not None:
            # One difference a pixel is a rough estimate: its neighbours' make it a better one.
            there = blur(error, self.blur_px)
            there *= slope
            variance -= box(np.square(there, out=there), _NEIGHBOURS)
            np.maximum(variance, 0, out=variance)
        signal *= 1 + np.float32(self.line_noise) * rng.standard_normal((len(radiance), 1), np.float32)
        signal += np.sqrt(variance, out=variance) * rng.standard_normal(radiance.shape, np.float32)
        signal += np.float32(self.offset)
        signal *= 255
        np.rint(signal, out=signal)
        return np.clip(signal, 0, 255, out=signal).astype(np.uint8)
