"""`nanostream preview`: what a recipe looks like."""

from __future__ import annotations

import dataclasses

from nanostream.cli.options import Count, Out, Preset, Seed, Settings, load_recipe

__all__ = ["Preview"]

_PAIRS_PER_ROW = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preview:
    """Draw a sheet of images, each beside its mask."""

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

    def run(self) -> None:
        """Render the samples 0..count-1 and write the sheet."""
        import numpy as np
        from rich.console import Console
        from rich.progress import track

        from nanostream.sheet import grey, overlay, save_sheet, sheet
        from nanostream.synth import Synth

        synth = Synth(load_recipe(self.preset, self.settings))
        console = Console(stderr=True)
        indices = track(
            range(self.count), "rendering", console=console, transient=True, disable=not console.is_terminal
        )
        tiles = []
        for index in indices:
            sample = synth.render(seed=self.seed, index=index)
            mask = overlay(np.zeros_like(sample.image), sample.mask, strength=0.7)
            tiles += [grey(sample.image), mask]
        columns = 2 * min(self.count, _PAIRS_PER_ROW)
        rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
        titles = ["image", "mask"] * (columns // 2)
        path = save_sheet(self.out, sheet(rows, titles=titles))
        print(f"Drew {self.count} samples of {self.preset} with their masks in {path}.")
