"""A recipe's texture that `nanostream fit` learned: a latent map in a file, and what one picture takes from it.

Legend: N = particles, H, W = picture height and width in pixels.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic

from nanostream.errors import TextureError
from nanostream.texture.effects import EFFECTS
from nanostream.texture.film import draw_noise, film_relief, skin_relief
from nanostream.texture.learned_file import load_learned
from nanostream.texture.surface import SurfaceTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from nanostream.texture.latent import LatentMap

__all__ = ["DETECTOR", "LearnedLook", "LearnedTexture", "Look", "surface_columns"]

DETECTOR = ("blur_px", "gain", "gamma", "offset", "shot_noise", "read_noise", "line_noise")
"""Effects that are the detector's settings."""

LEAST_HEIGHT_GAIN = 0.2
"""A particle is never dimmed below this share by its height."""

GROUND_ROUGHNESS = 0.5
"""A flat ground under an even sky hardly shows it."""


class LearnedTexture(pydantic.BaseModel):
    """A texture learned from pictures; it brings the detector's settings too."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["learned"] = "learned"
    file: pathlib.Path
    """What `nanostream fit` wrote; `nanostream:NAME` is a file that ships with the package."""
    fixed: dict[str, float] = {}
    """Effects held at a value instead of drawn, by name, such as blur_px."""

    @pydantic.field_validator("fixed")
    @classmethod
    def _known(cls, fixed: dict[str, float]) -> dict[str, float]:
        odd = sorted(set(fixed) - set(EFFECTS))
        if odd:
            msg = f"expected names out of {', '.join(EFFECTS)}, got {odd[0]!r}"
            raise ValueError(msg)
        return fixed

    def load(self) -> LearnedLook:
        """The texture in the file; raises TextureError if there is none."""
        return LearnedLook(load_learned(self.file).latent, self.fixed)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One picture's surfaces; skin: (H, W) float32, factor on pixels that show a particle; the detector's settings."""

    table: SurfaceTable
    skin: npt.NDArray[np.float32]
    detector: dict[str, float]


class LearnedLook:
    """Draws what pictures look like; fixed: effects held at a value."""

    def __init__(self, latent: LatentMap, fixed: Mapping[str, float] | None = None) -> None:
        if set(latent.effects) != set(EFFECTS):
            odd = min(set(latent.effects) ^ set(EFFECTS))
            msg = f"expected a learned texture with the effects of this version, got one that differs in {odd!r}"
            msg += ": fit it anew or update nanostream"
            raise TextureError(msg)
        self._latent, self._fixed = latent, dict(fixed or {})

    def draw(
        self, rng: np.random.Generator, *, lift: npt.NDArray[np.float64], height: int, width: int, pixel_nm: float
    ) -> Look:
        """One picture's surfaces and detector.

        lift: (N,) float64, how much higher each particle lies than on the ground, in its own radii.
        """
        drawn = self._latent.values(rng.standard_normal((1, self._latent.latents)))
        values = {name: float(value[0]) for name, value in drawn.items()} | self._fixed
        light = rng.uniform(0, 2 * np.pi)
        gain, rim = rng.standard_normal((2, len(lift)))
        noise = draw_noise(rng, height=height, width=width)
        # Single precision throughout: numbers of double precision would widen the fields.
        small = {name: np.float32(value) for name, value in values.items()}
        size = {"width": width, "pixel_nm": np.float32(pixel_nm), "xp": np}
        relief = film_relief(small, noise, **size, light=np.float32(light))
        columns = surface_columns(values, gain=gain, rim=rim, lift=lift, xp=np)
        table = SurfaceTable(
            **{name: column.astype(np.float32) for name, column in columns.items()},
            rim_cap=values["rim_cap"],
            rim_power=values["rim_power"],
            relief=relief.astype(np.float32),
        )
        skin = skin_relief(small, noise, **size).astype(np.float32)
        return Look(table, skin, {name: values[name] for name in DETECTOR})


def surface_columns(values: Mapping[str, Any], *, gain: Any, rim: Any, lift: Any, xp: Any) -> dict[str, Any]:
    """Columns of a SurfaceTable, (1 + N,) each, in numpy or torch, which `xp` is.

    values: effects by name. gain, rim: (N,) standard normal numbers. lift: (N,).
    """
    none = xp.zeros(())

    def column(ground: Any, particle: Any) -> Any:
        return xp.concatenate([xp.reshape(ground + none, (1,)), particle + 0 * lift])

    height = (1 + values["height_gain"] * lift).clip(LEAST_HEIGHT_GAIN)
    return {
        "base_color": column(values["ground"], values["base_color"]),
        "roughness": column(none + GROUND_ROUGHNESS, values["roughness"]),
        "specular": column(none, values["specular"]),
        "spec_tint": column(none, none),
        "sheen": column(none, values["sheen"]),
        "gain": column(none + 1, xp.exp(values["gain_sd"] * gain) * height),
        "rim": column(none, values["rim"] * xp.exp(values["rim_sd"] * rim)),
        "ambient": column(values["ground_ambient"], values["ambient"]),
    }
