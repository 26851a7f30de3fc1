"""`nanostream segment`: masks, particle sizes and a report from a folder of micrographs."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from nanostream.cli.options import Out
from nanostream.errors import PictureError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from nanostream.segment.batch import Batch

__all__ = ["Segment"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segment:
    """Find and measure the particles in micrographs.

    Writes labels/ (16-bit TIFF, 0 background; 32-bit where there are over 65,535 particles), overlays/, particles.csv,
    summary.json and report.html. Pictures that cannot be used are named and skipped; the exit code is 1 then.
    """

    model: Annotated[pathlib.Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Model file that `nanostream train` wrote."""

    pictures: Annotated[pathlib.Path, tyro.conf.Positional, tyro.conf.arg(metavar="PICTURES")]
    """Folder of PNG, TIFF or BMP pictures, or one of them."""

    out: Out = pathlib.Path("segmented")
    """Folder to write, new or empty."""

    pixel_nm: float | None = None
    """Edge of a pixel in nm; by default what the microscope wrote into each file."""

    border: Literal["corrected", "excluded", "kept"] = "corrected"
    """Particles that touch the border, in the size distribution: left out and corrected for, left out, or kept."""

    flips: bool = False
    """Average over mirrored pictures: a little better, at four times the cost."""

    wires: bool = False
    """Measure diameters and lengths along skeletons, and junctions; models trained on wires do so anyway."""

    overwrite: bool = False
    """Write into a folder that holds files, and replace those of the same names."""

    def run(self) -> None:
        """Segment, measure and write."""
        import torch

        from nanostream.micrograph import list_pictures
        from nanostream.segment.batch import segment_pictures
        from nanostream.segment.model import load_model

        model = load_model(self.model)
        model.network.to("cuda" if torch.cuda.is_available() else "cpu")
        paths = list_pictures(self.pictures)
        if self.out.exists() and not self.overwrite and (not self.out.is_dir() or any(self.out.iterdir())):
            msg = f"expected a new or empty folder at {str(self.out)!r}: choose another -o or --overwrite"
            raise StoreError(msg)
        wires = self.wires or model.about.get("recipe", {}).get("shape") == "wire"
        with _Shown(len(paths)) as show:
            batch = segment_pictures(
                model,
                paths,
                self.out,
                pixel_nm=self.pixel_nm,
                wires=wires,
                flips=self.flips,
                on_share=show,
            )
        summary = self._write(batch, model.about)
        sizes = summary["sizes"]
        median = "" if sizes["d50_nm"] is None else f", median diameter {sizes['d50_nm']:.1f} nm"
        print(
            f"Found {summary['particles']} particles in {len(batch.pictures)} pictures{median}; masks, table and "
            f"report.html are in {self.out}."
        )
        if batch.skipped:
            named = "; ".join(f"{name} ({reason})" for name, reason in batch.skipped)
            msg = f"{len(batch.skipped)} of {len(paths)} pictures were skipped: {named}"
            raise PictureError(msg)

    def _write(self, batch: Batch, about: dict[str, Any]) -> dict[str, Any]:
        """Write summary.json and report.html; returns the summary."""
        import importlib.metadata

        from nanostream.files import write_json, write_text
        from nanostream.segment.report import render_report
        from nanostream.segment.summary import border_weights, summarise

        summary = {
            "nanostream": importlib.metadata.version("nanostream"),
            "model": {"file": self.model.name, "recipe": about.get("recipe", {}).get("name")},
            **summarise(batch, border=self.border),
        }
        write_json(self.out / "summary.json", summary)
        report = render_report(
            summary,
            title=self.pictures.name,
            sizes_nm=batch.column("diameter_nm"),
            weights=border_weights(batch, self.border),
            overlays=[(each.name, self.out / "overlays" / f"{each.stem}.png") for each in batch.pictures],
        )
        write_text(self.out / "report.html", report)
        return summary


class _Shown:
    """Progress over all pictures, on stderr."""

    def __init__(self, count: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("segmenting", total=count)
        self._names: list[str] = []

    def __enter__(self) -> Callable[[str, float], None]:
        self._bar.start()
        return self._show

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _show(self, name: str, share: float) -> None:
        if name not in self._names[-1:]:
            self._names.append(name)
        self._bar.update(self._task, description=name, completed=len(self._names) - 1 + share)
