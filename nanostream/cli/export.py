"""`nanostream export`: a fixed set of samples, in files that other tools open."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from nanostream.cli.options import Count, Preset, Seed, Settings, load_recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanostream.recipe import Recipe

__all__ = ["Export"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """Render samples into files that other tools open; an export that was interrupted goes on."""

    preset: Preset
    """Name of a preset, or path of a recipe file (JSON)."""

    format: Literal["webdataset", "zarr", "ome-zarr", "ome-zarr-0.4", "coco", "nnunet"]
    """What to write."""

    out: Annotated[str, tyro.conf.arg(aliases=["-o"], metavar="PATH")]
    """Folder to write, new, empty or interrupted; or an address that fsspec opens, such as s3://bucket/set."""

    count: Count = 1000
    """Samples to render."""

    seed: Seed = 0
    """Seed of the stream."""

    start: Annotated[int, tyro.conf.arg(metavar="INDEX")] = 0
    """Index of the first sample."""

    workers: int = 1
    """Render workers; more than one are started with Ray."""

    shard_size: Annotated[str | None, tyro.conf.arg(metavar="N|SIZE")] = None
    """Samples a shard, or bytes such as 512MB; by default 1000 for WebDataset, and 64 MiB of pixels for Zarr."""

    window: Annotated[str | None, tyro.conf.arg(metavar="SIZE")] = None
    """Go on without end, in a ring of WebDataset or Zarr files that takes at most this, such as 20GB; Ctrl-C ends."""

    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace the folder if it holds an earlier export; only once the new one is whole."""

    settings: Settings = ()
    """A field of the recipe to change, such as scene.sizes.median_nm=120; may come repeatedly."""

    def run(self) -> None:
        """Render and write."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        recipe = load_recipe(self.preset, self.settings)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("exporting", total=None if self.window else self.count, rate="")

            def advance(done: int) -> None:
                speed = progress.tasks[0].speed
                progress.update(task, advance=done, rate="" if speed is None else f"{speed:.1f} samples/s")

            made = self._windowed(recipe, advance) if self.window else self._exported(recipe, advance)
        print(made)

    def _exported(self, recipe: Recipe, advance: Callable[[int], None]) -> str:
        from nanostream.export import export

        shard_size = int(self.shard_size) if self.shard_size and self.shard_size.isdigit() else self.shard_size
        made = export(
            recipe,
            format=self.format,
            count=self.count,
            out=self.out,
            seed=self.seed,
            start=self.start,
            workers=self.workers,
            shard_size=shard_size,
            overwrite=self.overwrite,
            progress=advance,
        )
        resumed = f", {made.resumed} of them there already" if made.resumed else ""
        return (
            f"Wrote samples {self.start} to {self.start + self.count - 1} of {recipe.name} (seed {self.seed}) "
            f"as {self.format}{resumed}, {made.nbytes / 1e6:.1f} MB, to {made.folder}."
        )

    def _windowed(self, recipe: Recipe, advance: Callable[[int], None]) -> str:
        from nanostream.export import export_window

        stop = export_window(
            recipe,
            window=self.window or "",
            out=self.out,
            format=self.format,
            seed=self.seed,
            start=self.start,
            workers=self.workers,
            progress=advance,
        )
        return f"Wrote samples up to {stop - 1} of {recipe.name} (seed {self.seed}) into the ring in {self.out}."
