"""What a learned texture decides of a picture: its effects by name, each a number between two limits.

What real pictures show and one principled surface for all cannot: brightness that differs from particle to particle
and with height, bright rims, a film that is wrinkled, and a detector whose blur and noise differ from picture to
picture. `start` is a generic scanning electron micrograph, from which a fit begins, and about which stays what the
pictures do not tell.
"""

from __future__ import annotations

from typing import Self

import pydantic

__all__ = ["EFFECTS", "Effect"]


class Effect(pydantic.BaseModel):
    """Limits of one number, and where a fit starts."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    low: float
    """Least value."""
    high: float
    """Greatest value."""
    start: float
    """Typical value before anything is learned."""
    log: bool = False
    """Whether equal steps are equal factors."""

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> Self:
        if not (self.low < self.start < self.high and (self.low > 0 or not self.log)):
            msg = f"expected low < start < high, above 0 if log, got {self.low:g}, {self.start:g}, {self.high:g}"
            raise ValueError(msg)
        return self


def _log(low: float, start: float, high: float) -> Effect:
    return Effect(low=low, start=start, high=high, log=True)


def _even(low: float, start: float, high: float) -> Effect:
    return Effect(low=low, start=start, high=high)


EFFECTS = {
    # Surfaces of the particles: `principled` BSDF, share of light in shadow, yield from tilted surfaces.
    "base_color": _log(0.05, 1.1, 3.0),
    "roughness": _even(0.05, 0.7, 1.0),
    "specular": _even(0.0, 0.05, 1.0),
    "sheen": _log(0.01, 3.0, 5.0),
    "ambient": _even(0.0, 0.25, 1.0),
    "rim": _log(0.02, 0.4, 3.0),
    "rim_cap": _even(1.2, 3.0, 8.0),
    "rim_power": _even(0.5, 1.0, 4.0),
    # From particle to particle: standard deviations of logarithms, and brightness for each radius of height.
    "gain_sd": _log(0.01, 0.2, 0.8),
    "rim_sd": _log(0.01, 0.3, 1.0),
    "height_gain": _even(-0.2, 0.12, 0.6),
    # Over a particle's surface, relative to its brightness: mottling, and streaks along the scan.
    "skin": _log(0.002, 0.01, 0.08),
    "skin_nm": _log(5.0, 15.0, 60.0),
    "streak": _log(0.002, 0.02, 0.12),
    "streak_nm": _log(20.0, 150.0, 800.0),
    # The ground and its film, relative to the ground's brightness.
    "ground": _log(0.01, 0.25, 1.0),
    "ground_ambient": _even(0.0, 0.4, 1.0),
    "grain": _log(0.002, 0.03, 0.4),
    "grain_nm": _log(3.0, 8.0, 30.0),
    "mottle": _log(0.002, 0.02, 0.3),
    "mottle_nm": _log(40.0, 150.0, 600.0),
    "waves": _log(0.002, 0.02, 0.4),
    "waves_nm": _log(8.0, 25.0, 120.0),
    "ragged": _even(0.0, 0.25, 1.0),
    "islands": _log(0.01, 0.2, 3.0),
    "islands_nm": _log(12.0, 30.0, 80.0),
    "islands_width_nm": _log(3.0, 6.0, 20.0),
    "islands_level": _even(0.0, 1.2, 2.5),
    "islands_shown": _even(-1.5, 0.5, 2.5),
    "islands_facing": _even(0.0, 0.3, 1.0),
    "islands_step": _even(-0.3, 0.02, 0.3),
    "wrinkles": _log(0.01, 0.2, 3.0),
    "wrinkles_nm": _log(25.0, 60.0, 250.0),
    "wrinkles_width_nm": _log(3.0, 7.0, 30.0),
    "wrinkles_level": _even(0.0, 0.6, 2.5),
    "wrinkles_shown": _even(-1.5, 1.0, 2.5),
    "wrinkles_facing": _even(0.0, 0.4, 1.0),
    "wrinkles_step": _even(-0.3, 0.01, 0.3),
    # The detector, as `Detector` has it.
    "blur_px": _log(0.3, 0.75, 2.5),
    "gain": _log(0.1, 0.35, 3.0),
    "gamma": _log(0.5, 1.0, 2.0),
    "offset": _even(-0.1, 0.01, 0.2),
    "shot_noise": _log(1e-6, 5e-4, 1e-2),
    "read_noise": _log(5e-4, 4e-3, 0.1),
    "line_noise": _log(2e-4, 1e-2, 0.05),
}
"""Effects in the order of a latent map's outputs.

Lengths are in nm. `waves` are slopes of the film towards the light, `ragged` is how rough contours are. `islands` and
`wrinkles` are two kinds of ridge on the film, see `film`: brightness at the crest,
size of what has the ridge as its rim, half width of the ridge, level (share of the ground inside), where any are
shown, how much one side is brighter, and how much brighter the inside is.
"""
