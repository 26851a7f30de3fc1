"""Tells real patches from rendered ones, field by field: the PatchGAN of Isola et al. 2017."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.nn.utils import parametrizations

from nanostream.gan.exposure import blurred

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Contrasted", "patch_discriminator"]

_MOST_WIDER = 8
_DETAIL_PX = 2.0
_DETAIL_GAIN = 12.0


def patch_discriminator(
    *, channels: int = 1, filters: int = 64, layers: int = 3, norm: Literal["batch", "spectral"] = "batch"
) -> nn.Sequential:
    """Scores (B, 1, h, w) of pictures (B, channels, H, W); with 3 layers each score sees 70 x 70 pixels.

    norm: `batch`, as published; or `spectral`, which keeps brightness and contrast in sight (Miyato et al. 2018).
    Weights are drawn from torch's generator.
    """
    wrap: Callable[[nn.Conv2d], nn.Module] = parametrizations.spectral_norm if norm == "spectral" else nn.Identity()
    widths = [filters * min(2**layer, _MOST_WIDER) for layer in range(layers + 1)]
    parts: list[nn.Module] = [wrap(_conv(channels, filters, stride=2)), nn.LeakyReLU(0.2)]
    for layer, (width, wider) in enumerate(itertools.pairwise(widths), start=1):
        parts.append(wrap(_conv(width, wider, stride=2 if layer < layers else 1)))
        if norm == "batch":
            parts.append(nn.BatchNorm2d(wider))
        parts.append(nn.LeakyReLU(0.2))
    return nn.Sequential(*parts, wrap(_conv(widths[-1], 1, stride=1)))


class Contrasted(nn.Module):
    """Pictures as brightness and as local contrast: most of a micrograph is a dark ground with faint detail."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 2, H, W) of pictures (B, H, W) in [0, 1]."""
        bright = 2 * torch.sqrt(pictures + 1e-3) - 1
        detail = pictures - blurred(pictures, torch.full((len(pictures),), _DETAIL_PX))
        return torch.stack([bright, torch.tanh(_DETAIL_GAIN * detail)], dim=1)


def _conv(channels: int, filters: int, *, stride: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, filters, 4, stride, 1)
    nn.init.xavier_normal_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv
