"""`nanostream import-published`: a generator published with DiffRenderGAN becomes a nanostream texture."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated

import tyro

from nanostream.cli.options import Out
from nanostream.errors import RecipeError, StoreError

if TYPE_CHECKING:
    from nanostream.texture.checkpoint import Checkpoint

__all__ = ["ImportPublished"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportPublished:
    """Convert a published generator's weights and settings into one texture file."""

    weights: Annotated[pathlib.Path, tyro.conf.Positional, tyro.conf.arg(metavar="NAME.pth")]
    """The generator's weights; no code in the file is run."""

    settings: Annotated[pathlib.Path, tyro.conf.Positional, tyro.conf.arg(metavar="NAME.json")]
    """The settings that it was trained with."""

    out: Out
    """Texture file to write (safetensors)."""

    meshes: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the published meshes, with meshes.json in it or beside it; needed for --recipe."""

    recipe: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="FILE.json")] = None
    """Recipe file to write as well, which renders the published scenes with this texture."""

    pixel_nm: Annotated[float, tyro.conf.arg(metavar="NM")] = 1.0
    """Edge of a pixel in the recipe; the published scenes have no scale of their own."""

    overwrite: bool = False
    """Replace files that exist."""

    def run(self) -> None:
        """Read, check and convert; raises TextureError, RecipeError or StoreError."""
        from nanostream.texture.checkpoint import save_checkpoint
        from nanostream.texture.published import read_published

        if self.recipe is not None and self.meshes is None:
            msg = "expected --meshes with --recipe, got none: name the folder of the published meshes"
            raise RecipeError(msg)
        if self.recipe is not None and self.recipe.exists() and not self.overwrite:
            msg = f"expected no file at {self.recipe}, but there is one: choose another name or pass --overwrite"
            raise StoreError(msg)
        checkpoint = read_published(self.weights, self.settings)
        recipe = None if self.recipe is None else self._recipe(checkpoint)
        digest = save_checkpoint(checkpoint, self.out, overwrite=self.overwrite)
        if self.recipe is not None and recipe is not None:
            self.recipe.write_text(recipe, encoding="utf-8")
            print(f"Wrote the recipe {self.recipe}: try `nanostream preview {self.recipe} -o sheet.png`.")
        spec = checkpoint.spec
        print(
            f"Wrote the texture {spec.name} ({spec.particles} particles in, {len(spec.outputs)} parameters out, "
            f"sha256 {digest[:16]}) to {self.out}"
        )

    def _recipe(self, checkpoint: Checkpoint) -> str:
        """JSON of a recipe that renders the published scene with the texture, by absolute paths."""
        from nanostream.recipe import Picture, Recipe
        from nanostream.scene.published import PublishedSceneConfig, read_mesh_sets
        from nanostream.texture.generator import GeneratorTexture

        spec, folder = checkpoint.spec, self.meshes
        assert folder is not None
        listing = folder / "meshes.json"
        sets = read_mesh_sets(listing if listing.is_file() else folder.parent / "meshes.json")
        if len(sets.get(spec.mesh_set, ())) != spec.particles:
            msg = (
                f"expected the mesh set {spec.mesh_set} with {spec.particles} files in meshes.json, "
                f"got {len(sets.get(spec.mesh_set, ()))}: use the meshes that belong to {spec.name}"
            )
            raise RecipeError(msg)
        return Recipe(
            name=f"published-{spec.name.lower().replace('_', '-')}",
            about=spec.citation,
            picture=Picture(pixel_nm=self.pixel_nm),
            scene=PublishedSceneConfig(
                folder=folder.resolve(),
                meshes=sets[spec.mesh_set],
                placement=spec.placement,
                optics=spec.optics,
            ),
            texture=GeneratorTexture(file=self.out.resolve()),
        ).dump()
