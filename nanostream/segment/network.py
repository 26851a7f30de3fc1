"""The network that segments: a U-Net of MONAI, described by a frozen value.

Legend: B = pictures, H, W = height and width in pixels.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch

from nanostream.errors import ModelError

__all__ = ["CHANNELS", "CLASSES", "LEAST_DEVIATION", "SHAPES", "NetworkConfig", "config_from_json", "unet"]

LEAST_DEVIATION = 1e-6
"""Added to a picture's standard deviation: one of a single grey level has none."""
CHANNELS = 1
"""Micrographs are grey."""
CLASSES = 3
"""Background, particle, contour; see `targets.contour_classes`."""
SHAPES = 3
"""Beside the classes the network tells `targets.relative_distance` and `targets.centre_offsets`: what is asked of it
in training alone, so that it sees particles as wholes."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """What decides the shape of the network's weights."""

    channels: tuple[int, ...] = (16, 32, 64, 128)
    """Channels of each level, from the finest to the coarsest."""
    strides: tuple[int, ...] = (2, 2, 2)
    """Reduction between the levels; one fewer than levels."""
    residual_units: int = 2
    """Residual convolutions a level; 0 for plain ones."""

    def __post_init__(self) -> None:
        """Check what the constructor of the network would not explain."""
        numbers = (*self.channels, *self.strides)
        if len(self.strides) + 1 != len(self.channels) or min(numbers, default=0) < 1:
            msg = (
                "expected one stride fewer than levels and only whole numbers over 0, got channels "
                f"{self.channels} and strides {self.strides}"
            )
            raise ModelError(msg)

    @property
    def factor(self) -> int:
        """Height and width of what goes in must be multiples of this."""
        return math.prod(self.strides)


def unet(config: NetworkConfig | None = None) -> torch.nn.Sequential:
    """U-Net from (B, 1, H, W) float32, standardised, to (B, 6, H, W).

    That is: logits of the three classes, relative distance, and offsets in tens of pixels. H and W must be multiples
    of `config.factor`. Ronneberger et al. 2015, with the residual units of Kerfoot et al. 2019, as MONAI builds it.
    Batch normalisation: on a CPU it takes two thirds of the time of instance normalisation, and the samples of a
    batch are independent of one another.
    """
    from monai.networks.nets.unet import UNet

    config = config or NetworkConfig()
    width = config.channels[0]
    network = torch.nn.Sequential(
        # MONAI's finest level has no more channels than there are outputs, all behind a ReLU: with six of them, how
        # fast a training starts, or whether it does, is up to the seed.
        UNet(
            spatial_dims=2,
            in_channels=CHANNELS,
            out_channels=width,
            channels=config.channels,
            strides=config.strides,
            num_res_units=config.residual_units,
            act=("RELU", {"inplace": True}),
            norm="BATCH",
        ),
        torch.nn.Conv2d(width, CLASSES + SHAPES, kernel_size=1),
    )
    # A fifth faster on a CPU.
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def config_from_json(value: dict[str, Any]) -> NetworkConfig:
    """Network description from plain JSON values; raises ModelError if a field is wrong."""
    try:
        return NetworkConfig(
            channels=tuple(int(number) for number in value["channels"]),
            strides=tuple(int(number) for number in value["strides"]),
            residual_units=int(value["residual_units"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        msg = f"expected channels, strides and residual_units of a network, got {value!r}"
        raise ModelError(msg) from error
