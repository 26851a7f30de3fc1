"""A fit by the published method: what it renders, checks and writes."""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
from typing import TYPE_CHECKING, Any

from nanostream.errors import RecipeError
from nanostream.gan.check import SEED
from nanostream.gan.learned_fit import recipe_name
from nanostream.gan.published_trainer import PublishedConfig, PublishedTrainer
from nanostream.recipe import Picture, Recipe
from nanostream.render import backend
from nanostream.scene.published import PublishedSceneConfig, read_mesh_sets
from nanostream.texture.checkpoint import save_checkpoint
from nanostream.texture.generator import GeneratorTexture
from nanostream.texture.published import read_settings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nanostream.gan.patches import RealPatches
    from nanostream.texture.checkpoint import Checkpoint, Spec

__all__ = ["PublishedMethod", "read_published_scene"]

_CHECKED = 4


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PublishedMethod:
    """One surface for all particles, one for the stage, and noise, from a generator that reads the placement."""

    scene: PublishedSceneConfig
    spec: Spec
    pixel_nm: float
    config: PublishedConfig

    @property
    def name(self) -> str:
        """As on the command line."""
        return "published"

    @property
    def patch_px(self) -> int:
        """Edge of the pictures that are learned from."""
        return self.config.patch_px

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the weights, but for the pictures; plain JSON values."""
        return {
            "trainer": dataclasses.asdict(self.config),
            "pixel_nm": self.pixel_nm,
            "scene": self.scene.model_dump(mode="json", exclude={"folder"}),
            "spec": self.spec.model_dump(mode="json"),
        }

    def trainer(self, real: RealPatches) -> PublishedTrainer:
        """What learns from the patches."""
        return PublishedTrainer(real, self.scene, self.spec, self.config)

    def draw(
        self, texture: Checkpoint, *, tile_px: int
    ) -> tuple[list[npt.NDArray[np.uint8]], list[npt.NDArray[np.uint16]]]:
        """Pictures and masks to check."""
        backend.start()
        from nanostream.render.published import PublishedRenderer

        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "texture.safetensors")
            save_checkpoint(texture, file)
            size = {"height": tile_px, "width": tile_px, "pixel_nm": self.pixel_nm}
            renderer = PublishedRenderer(self.scene, GeneratorTexture(file=file), **size)
        drawn = [renderer.render(seed=SEED, index=index) for index in range(_CHECKED)]
        return [image for image, _, _ in drawn], [mask for _, mask, _ in drawn]

    def save(self, texture: Checkpoint, card: dict[str, Any], path: pathlib.Path) -> Recipe:
        """Write the texture, with the card as its source; returns a recipe that renders it."""
        count = card["pictures"]["fitted"]
        source = f"fitted by the published method to {count} pictures, sha256 {card['pictures']['sha256']}"
        spec = texture.spec.model_copy(update={"name": recipe_name(path), "source": source, "licence": ""})
        save_checkpoint(dataclasses.replace(texture, spec=spec), path, overwrite=True)
        return Recipe(
            name=recipe_name(path),
            about=card["about"],
            picture=Picture(height=self.patch_px, width=self.patch_px, pixel_nm=self.pixel_nm),
            scene=self.scene,
            texture=GeneratorTexture(file=path.resolve()),
        )


def read_published_scene(settings: pathlib.Path, meshes: pathlib.Path) -> tuple[PublishedSceneConfig, Spec]:
    """Scene and what is learned, from settings in the published form and a folder of meshes.

    A parameter below 0 in the settings is learned, within the limits that stand there; all others are constants.
    meshes: with meshes.json, which tells the sets' files, in it or beside it. Raises RecipeError or TextureError.
    """
    listing = meshes / "meshes.json"
    sets = read_mesh_sets(listing if listing.is_file() else meshes.parent / "meshes.json")
    probe = read_settings(settings, name=settings.stem, particles=1, meshes=())
    if probe.mesh_set not in sets:
        msg = f"expected the mesh set {probe.mesh_set} of {settings} in meshes.json, got {', '.join(sorted(sets))}"
        raise RecipeError(msg + ": name the folder of its meshes")
    files = sets[probe.mesh_set]
    spec = read_settings(settings, name=settings.stem, particles=len(files), meshes=files)
    scene = PublishedSceneConfig(folder=meshes.resolve(), meshes=files, placement=spec.placement, optics=spec.optics)
    return scene, spec
