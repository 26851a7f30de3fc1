"""The figures that a folder of segmented pictures comes down to."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nanostream.segment.distribution import describe_sizes

if TYPE_CHECKING:
    import numpy.typing as npt

    from nanostream.segment.batch import Batch

__all__ = ["BORDER_RULES", "BorderRule", "border_weights", "summarise"]

BorderRule = Literal["corrected", "excluded", "kept"]

BORDER_RULES: dict[BorderRule, str] = {
    "corrected": "Particles that touch a picture's border are left out of the size distribution, and each other one "
    "counts for as many as its size keeps out that way (Miles-Lantuejoul).",
    "excluded": "Particles that touch a picture's border are left out of the size distribution; since large ones touch "
    "it more often, sizes come out a little too small.",
    "kept": "Particles that touch a picture's border count like all others; since they are cut off, sizes come out a "
    "little too small.",
}
"""What can be done about particles that the border cuts."""


def border_weights(batch: Batch, border: BorderRule) -> npt.NDArray[np.float64]:
    """How many particles of the population each one found stands for, (n,)."""
    if border == "kept":
        return np.ones(len(batch.column("weight")))
    weights = batch.column("weight")
    return weights if border == "corrected" else (weights > 0).astype(np.float64)


def summarise(batch: Batch, *, border: BorderRule) -> dict[str, Any]:
    """Plain JSON values: count, size distribution, coverage; for wires also lengths and junctions.

    Sizes are equivalent diameters by number. Wires are cut by the border more often than not, so their diameters are
    taken over all that is seen, by length.
    """
    pictures = batch.pictures
    weights = border_weights(batch, border)
    area_um2 = sum(picture.area_nm2 for picture in pictures) * 1e-6
    covered_um2 = sum(picture.coverage * picture.area_nm2 for picture in pictures) * 1e-6
    summary: dict[str, Any] = {
        "particles": len(weights),
        "touching_border": int(batch.column("touches_border").sum()),
        "border": border,
        "border_says": BORDER_RULES[border],
        "sizes": dataclasses.asdict(describe_sizes(batch.column("diameter_nm"), weights=weights)),
        "area_um2": area_um2,
        "coverage": covered_um2 / area_um2 if pictures else None,
        "particles_per_um2": float(weights.sum()) / area_um2 if pictures else None,
        "pictures": [
            {
                "name": picture.name,
                "particles": len(picture.table["label"]),
                "coverage": picture.coverage,
                "height": picture.height,
                "width": picture.width,
                "footer_rows": picture.footer_rows,
                "pixel_nm": picture.pixel_nm,
                "notes": list(picture.notes),
            }
            for picture in pictures
        ],
        "skipped": [{"name": name, "reason": reason} for name, reason in batch.skipped],
        "wires": None,
    }
    networks = [picture.network for picture in pictures if picture.network is not None]
    if networks:
        lengths = batch.column("wire_length_nm")
        diameters = describe_sizes(batch.column("wire_diameter_nm"), weights=lengths)
        length_um = sum(network.length_nm for network in networks) * 1e-3
        junctions = sum(network.junctions for network in networks)
        summary["wires"] = {
            "diameter_by_length": dataclasses.asdict(diameters),
            "length": dataclasses.asdict(describe_sizes(lengths, weights=weights)),
            "length_um": length_um,
            "length_um_per_um2": length_um / area_um2,
            "junctions": junctions,
            "junctions_per_um2": junctions / area_um2,
        }
    return summary
