"""`nanostream preview`: what a recipe looks like, and how much like a user's own pictures."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated

import tyro

from nanostream.cli.options import Count, Out, Preset, Seed, Settings, load_recipe
from nanostream.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from nanostream.micrograph import Micrograph
    from nanostream.recipe import Recipe
    from nanostream.sample import Sample
    from nanostream.synth import Synth

__all__ = ["Preview"]

_PAIRS_PER_ROW = 3
_SAME_SCALE = 0.02


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preview:
    """Draw a sheet of images, each beside its mask; with --against, say how near they are to real pictures."""

    preset: Preset
    """Name of a preset, or path of a recipe file that ends in .json."""

    out: Out
    """PNG file to write."""

    count: Count = 12
    """Samples on the sheet."""

    seed: Seed = 0
    """Seed of the stream."""

    settings: Settings = ()
    """A field of the recipe to change, such as scene.sizes.median_nm=120; may come repeatedly."""

    against: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of real pictures to measure the recipe's against; a table of distances is printed."""

    crop: Annotated[int | None, tyro.conf.arg(metavar="ROWS")] = None
    """Rows to keep of the real pictures from the top; by default a footer is found and cut."""

    measured: int = 64
    """Samples that are measured with --against."""

    fast: bool = False
    """With --against, leave out the network that learns to tell real from rendered, which takes a minute or two."""

    def run(self) -> None:
        """Render the samples 0..count-1 and write the sheet; measure samples 0..measured-1."""
        from rich.console import Console

        from nanostream.synth import Synth

        recipe = load_recipe(self.preset, self.settings)
        console = Console(stderr=True)
        real = [] if self.against is None else self._read(recipe, console)
        synth = Synth(recipe)
        samples = self._render(synth, max(self.count, self.measured) if real else self.count, console)
        path = self._draw(samples[: self.count])
        if real:
            self._measure(real, samples[: self.measured], console)
        print(f"Drew {self.count} samples of {self.preset} with their masks in {path}.")

    def _read(self, recipe: Recipe, console: Console) -> list[Micrograph]:
        """The real pictures, with a word where their scale is not the recipe's."""
        from nanostream.gan.realism import PATCH_PX
        from nanostream.micrograph import read_micrographs

        assert self.against is not None
        picture = recipe.picture
        if min(picture.height, picture.width) < PATCH_PX:
            msg = (
                f"expected pictures of at least {PATCH_PX}x{PATCH_PX} pixels with --against, got a recipe of "
                f"{picture.height}x{picture.width}: raise picture.height and picture.width"
            )
            raise RecipeError(msg)
        real = read_micrographs(self.against, crop=self.crop, least=2, least_px=PATCH_PX)
        for note in sorted({note for each in real for note in each.notes}):
            console.print(f"{self.against}: {note}", markup=False, highlight=False, soft_wrap=True)
        sizes = {each.pixel_nm for each in real if each.pixel_nm is not None}
        odd = [size for size in sizes if abs(size / picture.pixel_nm - 1) > _SAME_SCALE]
        if odd:
            told = f"the real pictures have {odd[0]:.4g} nm a pixel, the recipe {picture.pixel_nm:.4g}"
            hint = f"try --set picture.pixel_nm={odd[0]:.4g}"
            console.print(f"Pixels are compared as they are, but {told}: {hint}.", soft_wrap=True)
        return real

    def _render(self, synth: Synth, count: int, console: Console) -> list[Sample]:
        from rich.progress import track

        indices = track(range(count), "rendering", console=console, transient=True, disable=not console.is_terminal)
        return [synth.render(seed=self.seed, index=index) for index in indices]

    def _draw(self, samples: Sequence[Sample]) -> pathlib.Path:
        import numpy as np

        from nanostream.sheet import grey, overlay, save_sheet, sheet

        tiles = []
        for sample in samples:
            mask = overlay(np.zeros_like(sample.image), sample.mask, strength=0.7)
            tiles += [grey(sample.image), mask]
        columns = 2 * min(self.count, _PAIRS_PER_ROW)
        rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
        return save_sheet(self.out, sheet(rows, titles=["image", "mask"] * (columns // 2)))

    def _measure(self, real: Sequence[Micrograph], samples: Sequence[Sample], console: Console) -> None:
        """Print the table of realism."""
        from rich.console import Console as Output

        from nanostream.gan.realism import measure

        with console.status("measuring" if self.fast else "measuring: a network learns to tell real from rendered"):
            realism = measure(
                [each.pixels for each in real],
                [sample.image for sample in samples],
                seed=self.seed,
                two_sample=not self.fast,
            )
        title = f"{len(samples)} samples of {self.preset} against {len(real)} pictures in {self.against}"
        Output().print(realism.table(title=title))
        chance = "" if self.fast else "; the network's chance is 0.5"
        print(f"The floor is what two halves of the real pictures give{chance}.")
