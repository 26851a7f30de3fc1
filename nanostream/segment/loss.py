"""What the training minimises.

Legend: B = crops, K = edge of a crop in pixels; codes are the classes of `targets`, SEAM and GAP.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from nanostream.segment.crops import GAP, SEAM
from nanostream.segment.network import CLASSES
from nanostream.segment.targets import BACKGROUND, CONTOUR

if TYPE_CHECKING:
    from nanostream.segment.crops import Crops

__all__ = ["LossConfig", "segmentation_loss"]

OFFSET_PX = 10.0
"""About a particle's radius: brings offsets to the size of the other outputs."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """Weights of the loss; a pixel of background or inside weighs 1."""

    contour: float = 2.0
    """Weight of a contour pixel in the cross-entropy."""
    seam: float = 4.0
    """Weight of the pixels between two particles and beside them: few pixels, but they part the instances."""
    dice: float = 0.5
    """Weight of the soft Dice loss beside the cross-entropy."""
    distance: float = 1.0
    """Weight of the mean error of the relative distance."""
    offset: float = 0.5
    """Weight of the mean error of the offsets to the centre, in tens of pixels, over the particles."""


def segmentation_loss(outputs: torch.Tensor, crops: Crops, config: LossConfig) -> torch.Tensor:
    """Weighted cross-entropy, soft Dice loss of both particle classes, and the errors of the shapes; a scalar.

    outputs: (B, 6, K, K) float32, as `network.unet` gives them. The Dice loss is over the whole batch.
    Milletari et al. 2016, "V-Net", equation 1.
    """
    logits, distance, offset = outputs.split([CLASSES, 1, 2], dim=1)
    seam, gap = crops.codes == SEAM, crops.codes == GAP
    classes = torch.where(seam, CONTOUR, torch.where(gap, BACKGROUND, crops.codes)).long()
    weight = 1.0 + (config.contour - 1.0) * (classes == CONTOUR)
    weight = torch.where(seam | gap, config.seam, weight)
    entropy = (functional.cross_entropy(logits, classes, reduction="none") * weight).sum()
    p = logits.softmax(dim=1)
    dice = torch.zeros((), device=logits.device)
    for label in range(1, CLASSES):
        t = (classes == label).float()
        overlap = (p[:, label] * t).sum()
        dice = dice + 1.0 - (2.0 * overlap + 1.0) / (p[:, label].sum() + t.sum() + 1.0)
    particle = (classes > 0).float()
    off = ((offset - crops.offset / OFFSET_PX).abs().sum(dim=1) * particle).sum() / (particle.sum() + 1.0)
    return (
        entropy / weight.sum()
        + config.dice * dice / (CLASSES - 1)
        + config.distance * (distance[:, 0] - crops.distance).abs().mean()
        + config.offset * off
    )
