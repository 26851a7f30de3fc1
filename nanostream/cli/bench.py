"""`nanostream bench`: what this machine reaches."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import tyro

from nanostream.cli.options import Count, Seed, load_recipe

__all__ = ["Bench"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure what this machine reaches."""

    what: Annotated[Literal["render"], tyro.conf.Positional]
    """What to measure. render: one process on one thread."""

    preset: Annotated[str, tyro.conf.arg(metavar="PRESET")] = "tio2-sem"
    """Name of a preset, or path of a recipe file (JSON)."""

    count: Count = 60
    """Samples to time, after the first."""

    seed: Seed = 0
    """Seed of the stream."""

    def run(self) -> None:
        """Print the figures."""
        from rich.console import Console

        from nanostream.bench.render import measure_render

        recipe = load_recipe(self.preset)
        with Console(stderr=True).status(f"rendering {self.count + 1} samples of {self.preset}"):
            figures = measure_render(recipe, samples=self.count, seed=self.seed)
        print(f"first sample  {figures.first_sample_seconds:.1f} s after the start of the process")
        print(f"after it      {figures.samples_per_second:.1f} samples/s")
        print(f"processor     {figures.cpu_seconds / figures.seconds:.2f} of one core")
        print(
            f"Rendered {figures.samples + 1} samples of {self.preset}, "
            f"{figures.height}x{figures.width} pixels, on {figures.backend}, one process, one thread."
        )
