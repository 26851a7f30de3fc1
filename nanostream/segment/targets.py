"""What a network is asked to predict, made from instance masks; ready as transforms of a batch.

Legend: B = pictures in a batch, H, W = height and width in pixels. Everything is computed for the
whole batch at once, in torch, on the device of the mask.

    dataset = StreamingDataset(recipe, batch_size=16, transform=ContourClasses(width_px=1))
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from nanostream.errors import PictureError

__all__ = [
    "BACKGROUND",
    "CONTOUR",
    "PARTICLE",
    "CentreOffsets",
    "ContourClasses",
    "DistanceMap",
    "centre_offsets",
    "contour_classes",
    "distance_map",
    "relative_distance",
    "seams",
]

BACKGROUND, PARTICLE, CONTOUR = 0, 1, 2
BEYOND = 2**31 - 1
"""Over every label."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ContourClasses:
    """Transform that adds `classes` (B, H, W) uint8 to a batch; see `contour_classes`."""

    width_px: int = 1

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the batch with `classes` beside what it holds."""
        return {**batch, "classes": contour_classes(batch["mask"], width_px=self.width_px)}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DistanceMap:
    """Transform that adds `distance` (B, H, W) float32 to a batch; see `distance_map`."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the batch with `distance` beside what it holds."""
        return {**batch, "distance": distance_map(batch["mask"])}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CentreOffsets:
    """Transform that adds `offset` (B, 2, H, W) float32 to a batch; see `centre_offsets`."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the batch with `offset` beside what it holds."""
        return {**batch, "offset": centre_offsets(batch["mask"])}


def contour_classes(mask: torch.Tensor, *, width_px: int = 1) -> torch.Tensor:
    """Class of each pixel: 0 background, 1 inside of a particle, 2 its inner contour.

    mask: (B, H, W) int32. width_px: how deep the contour reaches into the particle; where two
    particles touch, each has its own, so the border is twice as wide. The picture's own border is
    no contour: a particle that it cuts stays open there.
    Returns (B, H, W) uint8. Raises PictureError if the mask has another shape or type.
    """
    labels = _labels(mask)
    highest, lowest = _extremes(labels, width_px)
    edge = (highest != labels) | (lowest != labels)
    inside = labels > 0
    return inside.to(torch.uint8) + (inside & edge).to(torch.uint8)


def seams(mask: torch.Tensor, *, width_px: int = 1) -> torch.Tensor:
    """Particle pixels that have another particle within `width_px`: where instances get merged.

    mask: (B, H, W) int32. Returns (B, H, W) bool. Raises PictureError as `contour_classes` does.
    """
    labels = _labels(mask)
    highest, _ = _extremes(labels, width_px)
    # With the background lifted over every label, the lowest neighbour is the lowest particle.
    _, lowest = _extremes(torch.where(labels > 0, labels, BEYOND), width_px)
    return (labels > 0) & ((highest != labels) | (lowest != labels))


def distance_map(mask: torch.Tensor) -> torch.Tensor:
    """Euclidean distance in pixels from each particle pixel to the next pixel outside its particle.

    mask: (B, H, W) int32. Beyond the picture's border nothing counts as outside; where no pixel of
    a picture lies outside a particle, the distance is the picture's diagonal.
    Returns (B, H, W) float32, 0 on the background. Exact: Felzenszwalb and Huttenlocher 2012,
    separated into rows and columns, with the columns searched only as far as they can matter.
    Raises PictureError if the mask has another shape or type.
    """
    labels = _labels(mask)
    _, height, width = labels.shape
    most = float(height**2 + width**2)
    along = torch.minimum(_run(labels), _run(labels.flip(-1)).flip(-1))
    inside = labels > 0
    row_sq = along.square().clamp(max=most)
    best = torch.where(inside, row_sq, 0.0)
    for step in range(1, height):
        # Rows further away than the largest distance left cannot shorten it.
        if float(best.max()) <= step**2:
            break
        upper, lower = slice(None, -step), slice(step, None)
        for here, there in ((upper, lower), (lower, upper)):
            same = labels[:, here] == labels[:, there]
            candidate = torch.where(same, row_sq[:, there], 0.0) + float(step**2)
            best[:, here] = torch.minimum(best[:, here], candidate)
    return torch.where(inside, best.sqrt(), 0.0)


def relative_distance(mask: torch.Tensor) -> torch.Tensor:
    """`distance_map` as a share of each particle's greatest distance: (B, H, W) float32, 0 on the background.

    mask: (B, H, W) int32. Raises PictureError if the mask has another shape or type.
    """
    distance = distance_map(mask)
    labels = mask.long()
    pictures = torch.arange(len(labels), device=mask.device).view(-1, 1, 1)
    key = (labels + pictures * (int(labels.max()) + 1)).flatten()
    greatest = torch.zeros(int(key.max()) + 1, device=mask.device)
    greatest.scatter_reduce_(0, key, distance.flatten(), "amax")
    return torch.where(labels > 0, distance / greatest[key].view_as(distance).clamp(min=1.0), 0.0)


def centre_offsets(mask: torch.Tensor) -> torch.Tensor:
    """Vector in pixels from each particle pixel to the centroid of its particle's seen pixels.

    mask: (B, H, W) int32. Returns (B, 2, H, W) float32, rows then columns, 0 on the background.
    Raises PictureError if the mask has another shape or type.
    """
    labels = _labels(mask).long()
    batch, height, width = labels.shape
    count = int(labels.max()) + 1
    pictures = torch.arange(batch, device=mask.device).view(-1, 1, 1) * count
    key = (labels + pictures).flatten()
    grid = torch.stack(
        torch.meshgrid(
            torch.arange(height, device=mask.device, dtype=torch.float64),
            torch.arange(width, device=mask.device, dtype=torch.float64),
            indexing="ij",
        )
    )
    area = torch.bincount(key, minlength=batch * count).clamp(min=1)
    offsets = []
    for axis in grid:
        place = axis.expand(batch, -1, -1)
        total = torch.bincount(key, weights=place.flatten(), minlength=batch * count)
        offsets.append((total / area)[key].view_as(place) - place)
    return torch.where((labels > 0).unsqueeze(1), torch.stack(offsets, dim=1), 0.0).float()


def _labels(mask: torch.Tensor) -> torch.Tensor:
    """The mask as int32, once its shape and type are checked."""
    if mask.ndim != 3 or mask.is_floating_point() or mask.dtype == torch.bool:  # noqa: PLR2004
        msg = (
            f"expected an instance mask (B, H, W) of whole numbers, got {tuple(mask.shape)} of "
            f"{mask.dtype}: take batch['mask'] as the stream gives it"
        )
        raise PictureError(msg)
    return mask.int()


def _extremes(labels: torch.Tensor, width_px: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Highest and lowest label within `width_px` of each pixel, along rows and columns in turn.

    Whole rows are compared at once: torch's pooling takes ten times as long.
    """
    highest, lowest = labels.clone(), labels.clone()
    for axis in (1, 2):
        size = labels.shape[axis]
        high, low = highest.clone(), lowest.clone()
        for step in range(1, min(width_px, size - 1) + 1):
            for to, source in ((0, step), (step, 0)):
                place = [t.narrow(axis, to, size - step) for t in (highest, lowest)]
                other = [t.narrow(axis, source, size - step) for t in (high, low)]
                torch.maximum(place[0], other[0], out=place[0])
                torch.minimum(place[1], other[1], out=place[1])
    return highest, lowest


def _run(labels: torch.Tensor) -> torch.Tensor:
    """Columns from each pixel to the next one of another label on its left, inf if there is none."""
    width = labels.shape[-1]
    column = torch.arange(width, device=labels.device).expand_as(labels)
    starts = torch.zeros_like(column)
    starts[..., 1:] = torch.where(labels[..., 1:] != labels[..., :-1], column[..., 1:], 0)
    start = starts.cummax(dim=-1).values
    return torch.where(start > 0, column - start + 1, torch.inf)
