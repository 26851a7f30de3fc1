"""A fit by the learned method: what it renders, checks and writes."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from nanostream.gan.check import SEED
from nanostream.gan.trainer import LearnedTrainer, TrainerConfig
from nanostream.recipe import Picture, Recipe
from nanostream.render.camera import Camera
from nanostream.render.detector import Detector
from nanostream.synth import ParticlePictures
from nanostream.texture.learned import LearnedLook, LearnedTexture
from nanostream.texture.learned_file import LearnedFile, save_learned

if TYPE_CHECKING:
    import pathlib

    import numpy as np
    import numpy.typing as npt

    from nanostream.gan.patches import RealPatches
    from nanostream.scene.config import SceneConfig
    from nanostream.texture.latent import LatentMap

__all__ = ["LearnedMethod", "recipe_name", "write_recipe"]

_CHECKED = 6
_SIDE = 2
"""Tiles along an edge of a picture that is checked: clusters leave some empty, as they do in real pictures."""
_PICTURE_PX = 256


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LearnedMethod:
    """Textures that differ over pictures, particles and surfaces, for scenes of this package."""

    scene: SceneConfig
    pixel_nm: float
    config: TrainerConfig

    @property
    def name(self) -> str:
        """As on the command line."""
        return "learned"

    @property
    def patch_px(self) -> int:
        """Edge of the patches that are learned from."""
        return self.config.patch_px

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the weights, but for the pictures; plain JSON values."""
        return {
            "trainer": dataclasses.asdict(self.config),
            "pixel_nm": self.pixel_nm,
            "scene": self.scene.model_dump(mode="json"),
        }

    def trainer(self, real: RealPatches) -> LearnedTrainer:
        """What learns from the patches."""
        return LearnedTrainer(real, self.scene, pixel_nm=self.pixel_nm, config=self.config)

    def draw(
        self, texture: LatentMap, *, tile_px: int
    ) -> tuple[list[npt.NDArray[np.uint8]], list[npt.NDArray[np.uint16]]]:
        """Pictures and masks to check."""
        edge = _SIDE * tile_px
        picture = Picture(height=edge, width=edge, pixel_nm=self.pixel_nm)
        made = ParticlePictures(self.scene, LearnedLook(texture), picture, camera=Camera(), detector=Detector())
        drawn = [made.draw(seed=SEED, index=index) for index in range(_CHECKED)]
        return [image for image, _, _ in drawn], [mask for _, mask, _ in drawn]

    def save(self, texture: LatentMap, card: dict[str, Any], path: pathlib.Path) -> Recipe:
        """Write the texture; returns a recipe that renders it."""
        save_learned(LearnedFile(texture, card), path)
        return Recipe(
            name=recipe_name(path),
            about=card["about"],
            picture=Picture(height=_PICTURE_PX, width=_PICTURE_PX, pixel_nm=self.pixel_nm),
            scene=self.scene,
            texture=LearnedTexture(file=path.resolve()),
        )


def recipe_name(path: pathlib.Path) -> str:
    """A file's name as a recipe's."""
    letters = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in path.stem.lower())
    return letters.strip("-") or "texture"


def write_recipe(recipe: Recipe, path: pathlib.Path, *, texture: pathlib.Path) -> None:
    """Write it beside its texture, which it names without a folder, so that both may move together."""
    values = json.loads(recipe.model_dump_json(exclude_defaults=False))
    values["texture"]["file"] = texture.name
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
