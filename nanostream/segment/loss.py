"""What the training minimises.

Legend: B = crops, K = edge of a crop in pixels; codes are the classes of `targets` and SEAM.
"""

from __future__ import annotations

import dataclasses

import torch
from torch.nn import functional

from nanostream.segment.targets import CONTOUR
from nanostream.segment.window import SEAM

__all__ = ["LossConfig", "segmentation_loss"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """Weights of the loss; a pixel of background or inside weighs 1."""

    contour: float = 2.0
    """Weight of a contour pixel in the cross-entropy."""
    seam: float = 4.0
    """Weight of a contour pixel beside another particle: few pixels, but they part the instances."""
    dice: float = 0.5
    """Weight of the soft Dice loss beside the cross-entropy."""


def segmentation_loss(logits: torch.Tensor, codes: torch.Tensor, config: LossConfig) -> torch.Tensor:
    """Weighted cross-entropy plus the soft Dice loss of both particle classes, over the whole batch.

    logits: (B, 3, K, K) float32. codes: (B, K, K) uint8. Returns a scalar.
    Milletari et al. 2016, "V-Net", equation 1.
    """
    seam = codes == SEAM
    classes = torch.where(seam, CONTOUR, codes).long()
    weight = 1.0 + (config.contour - 1.0) * (classes == CONTOUR)
    weight = torch.where(seam, config.seam, weight)
    entropy = (functional.cross_entropy(logits, classes, reduction="none") * weight).sum()
    p = logits.softmax(dim=1)
    dice = torch.zeros((), device=logits.device)
    for label in range(1, logits.shape[1]):
        t = (classes == label).float()
        overlap = (p[:, label] * t).sum()
        dice = dice + 1.0 - (2.0 * overlap + 1.0) / (p[:, label].sum() + t.sum() + 1.0)
    return entropy / weight.sum() + config.dice * dice / (logits.shape[1] - 1)
