"""What the microscope wrote beside the pixels: the pixel size, and how many rows its footer has.

Read from Zeiss SmartSEM tags, FEI and Thermo Fisher tags, ImageJ and OME resolution, and the text file that JEOL
microscopes write beside a picture. A bare resolution in inches or centimetres is the printer's, and not believed.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import tifffile

__all__ = ["Header", "read_header"]

_NM = {
    "pm": 1e-3,
    "nm": 1.0,
    "µm": 1e3,
    "μm": 1e3,
    "um": 1e3,
    "\\u00b5m": 1e3,
    "micron": 1e3,
    "microns": 1e3,
    "micrometer": 1e3,
    "nanometer": 1.0,
    "mm": 1e6,
    "cm": 1e7,
    "m": 1e9,
}
"""Nanometres in a unit; ImageJ writes µm in all of these ways."""

_ZEISS_SCALE = 3
_ZEISS_WIDTH = 1024
_SQUARE = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """pixel_nm: edge of a pixel, None if not written. footer_rows: rows below the picture, None if not written."""

    pixel_nm: float | None = None
    footer_rows: int | None = None
    notes: tuple[str, ...] = ()


def read_header(path: Path, file: tifffile.TiffFile | None) -> Header:
    """Header of a picture's file: of the TIFF where there is one, else of JEOL's text file beside it."""
    if file is None:
        return _jeol(path, None)
    for found in (_fei, _zeiss, _imagej, _ome):
        try:
            header = found(file)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            # Tags are as the microscope's software left them; what cannot be understood is not there.
            continue
        if header is not None:
            return header
    return _jeol(path, file)


def _zeiss(file: tifffile.TiffFile) -> Header | None:
    tags = file.sem_metadata
    if not tags:
        return None
    for name in ("ap_image_pixel_size", "ap_pixel_size"):
        if len(tags.get(name, ())) > 2:  # noqa: PLR2004 - name, value, unit
            _, value, unit = tags[name]
            return _header(float(value) * _NM[_unit(unit)], "the Zeiss tag")
    # Unnamed values: metres a pixel of the screen, which is 1024 wide (as HyperSpy reads it).
    metres = float(tags[""][_ZEISS_SCALE])
    return _header(metres * 1e9 * _ZEISS_WIDTH / file.pages.first.imagewidth, "the Zeiss tag")


def _fei(file: tifffile.TiffFile) -> Header | None:
    tags = file.fei_metadata
    if not tags:
        return None
    scan = next((tags[part] for part in ("Scan", "EScan", "IScan") if "PixelWidth" in tags.get(part, ())), {})
    footer = tags.get("PrivateFei", {}).get("DatabarHeight")
    height = scan.get("PixelHeight") or scan.get("PixelWidth")
    header = _header(float(scan["PixelWidth"]) * 1e9 if scan else None, "the FEI tag")
    notes = header.notes
    if scan and abs(height / scan["PixelWidth"] - 1) > _SQUARE:
        notes = (*notes, f"pixels are {height / scan['PixelWidth']:.3f} times as high as wide, and taken as square")
    return dataclasses.replace(header, footer_rows=None if footer is None else int(footer), notes=notes)


def _imagej(file: tifffile.TiffFile) -> Header | None:
    tags = file.imagej_metadata
    unit = _unit((tags or {}).get("unit", ""))
    per_unit = file.pages.first.get_resolution()[0]
    return _header(_NM[unit] / per_unit, "ImageJ's resolution") if unit in _NM and per_unit > 0 else None


def _ome(file: tifffile.TiffFile) -> Header | None:
    found = re.search(r'\bPhysicalSizeX="([^"]+)"', file.ome_metadata or "")
    if found is None:
        return None
    unit = re.search(r'\bPhysicalSizeXUnit="([^"]+)"', file.ome_metadata or "")
    return _header(float(found[1]) * _NM[_unit(unit[1] if unit else "µm")], "the OME header")


def _jeol(path: Path, file: tifffile.TiffFile | None) -> Header:
    """JEOL's text file: the length of its scale bar in pixels, what that stands for, and the picture's size."""
    try:
        text = path.with_suffix(".txt").read_text(encoding="latin-1")
    except OSError:
        return Header()
    bar = re.search(r"^\$\$SM_MICRON_BAR\s+(\d+)", text, re.MULTILINE)
    marker = re.search(r"^\$\$SM_MICRON_MARKER\s+([\d.]+)\s*(\S+)", text, re.MULTILINE)
    if bar is None or marker is None or not int(bar[1]) or _unit(marker[2]) not in _NM:
        return Header()
    header = _header(float(marker[1]) * _NM[_unit(marker[2])] / int(bar[1]), "JEOL's text file")
    size = re.search(r"^\$CM_FULL_SIZE\s+(\d+)\s+(\d+)", text, re.MULTILINE)
    page = None if file is None else file.pages.first
    if size is None or page is None or page.imagewidth != int(size[1]) or page.imagelength < int(size[2]):
        return header
    return dataclasses.replace(header, footer_rows=page.imagelength - int(size[2]))


def _unit(word: Any) -> str:
    return str(word).strip().lower().removesuffix("/px").removesuffix("/pixel")


def _header(pixel_nm: float | None, source: str) -> Header:
    if pixel_nm is None or not 0 < pixel_nm < float("inf"):
        return Header()
    return Header(pixel_nm=pixel_nm, notes=(f"{pixel_nm:.4g} nm a pixel, from {source}",))
