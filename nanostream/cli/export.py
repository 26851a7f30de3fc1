"""`nanostream export`: a fixed set of samples, in files that other tools open."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import tyro

from nanostream.cli.options import Count, Out, Preset, Seed, Settings, load_recipe

__all__ = ["Export"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """Render samples into a folder of WebDataset shards, or into a Zarr store."""

    preset: Preset
    """Name of a preset, or path of a recipe file (JSON)."""

    format: Literal["webdataset", "zarr"]
    """What to write."""

    out: Out
    """Folder to write; it must be new or empty."""

    count: Count = 1000
    """Samples to render."""

    seed: Seed = 0
    """Seed of the stream."""

    start: Annotated[int, tyro.conf.arg(metavar="INDEX")] = 0
    """Index of the first sample."""

    workers: int = 1
    """Render workers; more than one are started with Ray."""

    shard_size: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Samples a shard; by default 1000 for WebDataset, and 64 MiB of pixels for Zarr."""

    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace the folder if it holds an earlier export; only once the new one is whole."""

    settings: Settings = ()
    """A field of the recipe to change, such as scene.sizes.median_nm=120; may come repeatedly."""

    def run(self) -> None:
        """Render and write."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from nanostream.export import export

        recipe = load_recipe(self.preset, self.settings)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("exporting", total=self.count, rate="")

            def advance(done: int) -> None:
                speed = progress.tasks[0].speed
                progress.update(task, advance=done, rate="" if speed is None else f"{speed:.1f} samples/s")

            made = export(
                recipe,
                format=self.format,
                count=self.count,
                out=self.out,
                seed=self.seed,
                start=self.start,
                workers=self.workers,
                shard_size=self.shard_size,
                overwrite=self.overwrite,
                progress=advance,
            )
        print(
            f"Wrote samples {self.start} to {self.start + self.count - 1} of {recipe.name} (seed {self.seed}) "
            f"as {self.format}, {made.nbytes / 1e6:.1f} MB, to {made.folder}."
        )
