"""The detector in torch, with gradients to its settings: `render.detector.Exposure` for learning.

Legend: B = pictures, H, W = height and width in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["blurred", "expose", "on_levels"]

_REACH_PX = 8
"""The blur ends here: over three of the widest standard deviations."""

_LEVELS = 255


def expose(
    radiance: torch.Tensor, settings: Mapping[str, torch.Tensor], *, noise: torch.Tensor, lines: torch.Tensor
) -> torch.Tensor:
    """(B, H, W) pictures in [0, 1], on 8-bit levels, of radiance (B, H, W).

    settings: those of `Exposure` by name, (B,) each. noise: (B, H, W), lines: (B, H, 1), standard normal numbers, so
    that the same numbers give the same function of the settings.
    """
    of = {name: value[:, None, None] for name, value in settings.items()}
    signal = (blurred(radiance, settings["blur_px"]) * of["gain"]).clamp_min(1e-6) ** of["gamma"]
    sd = torch.sqrt(of["shot_noise"] * signal + of["read_noise"] ** 2)
    noisy = signal * (1 + of["line_noise"] * lines) + sd * noise + of["offset"]
    return on_levels(noisy.clamp(0, 1))


def blurred(pictures: torch.Tensor, sd_px: torch.Tensor) -> torch.Tensor:
    """Pictures (B, H, W) blurred with gaussians of standard deviations (B,) in pixels."""
    offset = torch.arange(-_REACH_PX, _REACH_PX + 1, dtype=pictures.dtype)
    weight = torch.exp(-0.5 * (offset / sd_px[:, None]) ** 2)
    weight = (weight / weight.sum(1, keepdim=True))[:, None, None]
    padded = functional.pad(pictures[None], (_REACH_PX,) * 4, mode="replicate")
    count = len(pictures)
    return functional.conv2d(functional.conv2d(padded, weight, groups=count), weight.transpose(-1, -2), groups=count)[0]


def on_levels(pictures: torch.Tensor) -> torch.Tensor:
    """The nearest 8-bit levels, whose gradient is that of the unrounded values."""
    return pictures + (torch.round(pictures * _LEVELS) / _LEVELS - pictures).detach()
