"""Crops of samples as a training takes them, and how a sample is kept until then.

Legend: B = crops, K = edge of a crop, N = samples, H, W = height and width in pixels.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from nanostream.segment.contacts import part_contacts
from nanostream.segment.targets import CONTOUR, centre_offsets, contour_classes, relative_distance, seams

__all__ = ["GAP", "SEAM", "Crops", "pack", "unpack"]

SEAM, GAP = 3, 4
"""Codes of contour pixels beside another particle, and of the background between the two; each weighs more than others
of its class."""
FULL = 255.0
HALF_PX = 2.0
MOST = 127.0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Crops:
    """A batch of crops with all that is asked of the network."""

    images: torch.Tensor
    """(B, 1, K, K) float32, standardised."""
    codes: torch.Tensor
    """(B, K, K) uint8: the classes of `targets.contour_classes`, SEAM and GAP."""
    distance: torch.Tensor
    """(B, K, K) float32: `targets.relative_distance`."""
    offset: torch.Tensor
    """(B, 2, K, K) float32: `targets.centre_offsets`, up to 63.5 pixels."""

    @classmethod
    def stack(cls, crops: list[Crops]) -> Crops:
        """Many as one."""
        return cls(
            **{
                field.name: torch.cat([getattr(crop, field.name) for crop in crops])
                for field in dataclasses.fields(cls)
            }
        )

    def to(self, device: torch.device) -> Crops:
        """The same on a device."""
        return Crops(**{field.name: getattr(self, field.name).to(device) for field in dataclasses.fields(self)})

    def turned(self, turns: int, *, mirror: bool) -> Crops:
        """Turned by so many quarters against the clock, then mirrored left to right."""
        offset = self.offset
        for _ in range(turns):
            offset = torch.stack([-offset[:, 1], offset[:, 0]], dim=1)
        if mirror:
            offset = offset * torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)
        parts = {"images": self.images, "codes": self.codes, "distance": self.distance, "offset": offset}
        return Crops(**{name: _turned(part, turns, mirror=mirror) for name, part in parts.items()})


def pack(batch: dict[str, Any], *, contour_px: int) -> dict[str, torch.Tensor]:
    """What is kept of a stream's batch of N samples, 5 bytes a pixel, each with N first.

    Where particles touch, their masks are parted: nobody who annotates lets two particles touch.
    """
    mask = batch["mask"].int()
    images = (batch["image"][:, 0] * FULL).round().to(torch.uint8)
    parted = torch.from_numpy(
        np.stack([part_contacts(one.numpy(), image.numpy()) for one, image in zip(mask, images, strict=True)])
    )
    codes = contour_classes(parted, width_px=contour_px)
    # The gap is a pixel wide.
    codes[seams(parted, width_px=contour_px + 1) & (codes == CONTOUR)] = SEAM
    codes[(mask > 0) & (parted == 0)] = GAP
    return {
        "images": images,
        "codes": codes,
        "distance": (relative_distance(mask) * FULL).round().to(torch.uint8),
        "offset": (centre_offsets(mask) * HALF_PX).round().clamp(-MOST, MOST).to(torch.int8),
    }


def unpack(
    held: dict[str, torch.Tensor], index: int, *, row: int, column: int, crop_px: int, table: torch.Tensor
) -> Crops:
    """One crop of a sample that was kept; table: (256,) float32, what each grey value becomes."""
    place = (slice(index, index + 1), ..., slice(row, row + crop_px), slice(column, column + crop_px))
    return Crops(
        images=table[held["images"][place].int()].unsqueeze(1),
        codes=held["codes"][place],
        distance=held["distance"][place] / FULL,
        offset=held["offset"][place] / HALF_PX,
    )


def _turned(values: torch.Tensor, turns: int, *, mirror: bool) -> torch.Tensor:
    turned = values.rot90(turns, (-2, -1))
    return turned.flip(-1) if mirror else turned
