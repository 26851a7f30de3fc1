"""A folder of micrographs into label pictures, overlays and tables.

Legend: H, W = picture height and width in pixels.
"""

from __future__ import annotations

import csv
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from nanostream.errors import PictureError
from nanostream.files import whole_file
from nanostream.micrograph import read_micrograph
from nanostream.segment.measure import PARTICLE_COLUMNS, measure
from nanostream.segment.tiles import predict_tiled
from nanostream.segment.wires import WIRE_COLUMNS, measure_network, measure_wires
from nanostream.sheet import overlay, save_sheet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from nanostream.segment.model import Model
    from nanostream.segment.wires import Network

__all__ = ["Batch", "Segmented", "segment_pictures"]

MOST_16_BIT = 2**16 - 1
OVERLAY_PX = 2048
"""Longest edge of an overlay; larger pictures are thinned out."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Segmented:
    """What was found in one picture."""

    name: str
    """Of its file."""
    stem: str
    """Of the files written for it."""
    height: int
    """Rows that were looked at: those above the footer."""
    width: int
    footer_rows: int
    pixel_nm: float
    coverage: float
    """Share of the pixels that belong to a particle."""
    table: dict[str, npt.NDArray[Any]]
    """`measure.PARTICLE_COLUMNS`, for wires also `wires.WIRE_COLUMNS`, one entry a particle."""
    network: Network | None
    """Of wires."""
    notes: tuple[str, ...]
    """How the file was read."""

    @property
    def area_nm2(self) -> float:
        """Area that was looked at."""
        return self.height * self.width * self.pixel_nm**2


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Batch:
    """What was found in a folder of pictures."""

    pictures: list[Segmented]
    skipped: list[tuple[str, str]]
    """Name and reason of each picture that could not be used."""

    def column(self, name: str) -> npt.NDArray[Any]:
        """A column of the particle table over all pictures."""
        return np.concatenate([np.empty(0), *(picture.table[name] for picture in self.pictures)])


def segment_pictures(
    model: Model,
    paths: Sequence[Path],
    out: Path,
    *,
    pixel_nm: float | None = None,
    wires: bool = False,
    flips: bool = False,
    on_share: Callable[[str, float], None] | None = None,
) -> Batch:
    """Segment pictures one after the other; writes labels/, overlays/ and particles.csv into `out`.

    A label picture is a TIFF of the file's own height and width, the footer's rows 0; 16 bits, or 32 where there are
    over 65,535 particles. A picture that cannot be read, or whose pixel size neither the file nor `pixel_nm` says, is
    skipped. wires: measure skeletons as well. on_share: called with a picture's name and the share of it that is done.
    Raises StoreError if `out` cannot be written.
    """
    pictures: list[Segmented] = []
    skipped: list[tuple[str, str]] = []
    stems = [path.stem for path in paths]
    with whole_file(out / "particles.csv") as partial, partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        columns = [*PARTICLE_COLUMNS, *(WIRE_COLUMNS if wires else ())]
        table.writerow(["picture", *columns])
        for path in paths:
            stem = path.stem if stems.count(path.stem) == 1 else path.name
            share = None if on_share is None else _Named(on_share, path.name)
            try:
                found = _segment(model, path, out, stem=stem, pixel_nm=pixel_nm, wires=wires, flips=flips, share=share)
            except PictureError as error:
                skipped.append((path.name, str(error)))
                continue
            pictures.append(found)
            for row in zip(*(found.table[name].tolist() for name in columns), strict=True):
                table.writerow([path.name, *(f"{v:.6g}" if isinstance(v, float) else v for v in row)])
    return Batch(pictures=pictures, skipped=skipped)


@dataclasses.dataclass(frozen=True, slots=True)
class _Named:
    """Passes a picture's share on, with its name."""

    tell: Callable[[str, float], None]
    name: str

    def __call__(self, share: float) -> None:
        self.tell(self.name, share)


def _segment(
    model: Model,
    path: Path,
    out: Path,
    *,
    stem: str,
    pixel_nm: float | None,
    wires: bool,
    flips: bool,
    share: Callable[[float], None] | None,
) -> Segmented:
    picture = read_micrograph(path, pixel_nm=pixel_nm)
    size_nm = picture.pixel_nm
    if size_nm is None:
        msg = f"expected the pixel size in the file {str(path)!r}, found none: give --pixel-nm (1 measures in pixels)"
        raise PictureError(msg)
    (height, width), footer_rows, notes = picture.pixels.shape, picture.footer_rows, picture.notes
    step = -(-max(height, width) // OVERLAY_PX)
    thin = (slice(None, None, step), slice(None, None, step))
    grey = (picture.pixels[thin] * 255.0).round().astype(np.uint8)
    out.mkdir(parents=True, exist_ok=True)
    scratch = out / f".{stem}.labels.partial"
    try:
        labels = predict_tiled(model, picture.pixels, scratch=scratch, flips=flips, on_share=share)
        # A large picture's grey levels take a gigabyte; nothing below needs them.
        del picture
        table = measure(labels, pixel_nm=size_nm)
        if wires:
            table |= measure_wires(labels, pixel_nm=size_nm)
        network = measure_network(labels, pixel_nm=size_nm) if wires else None
        _write_labels(out / "labels" / f"{stem}.tif", labels, footer_rows=footer_rows, pixel_nm=size_nm)
        save_sheet(out / "overlays" / f"{stem}.png", overlay(grey, labels[thin]))
    finally:
        scratch.unlink(missing_ok=True)
    return Segmented(
        name=path.name,
        stem=stem,
        height=height,
        width=width,
        footer_rows=footer_rows,
        pixel_nm=size_nm,
        coverage=float(table["area_nm2"].sum() / size_nm**2 / (height * width)),
        table=table,
        network=network,
        notes=notes,
    )


def _write_labels(path: Path, labels: npt.NDArray[np.int32], *, footer_rows: int, pixel_nm: float) -> None:
    """Write a label picture with its pixel size; other programs read both."""
    import tifffile

    height, width = labels.shape
    count = int(labels.max())
    stored = np.zeros((height + footer_rows, width), np.uint16 if count <= MOST_16_BIT else np.uint32)
    stored[:height] = labels
    with whole_file(path) as partial:
        tifffile.imwrite(
            partial,
            stored,
            compression="zlib",
            resolution=(1e7 / pixel_nm, 1e7 / pixel_nm),
            resolutionunit="CENTIMETER",
        )
