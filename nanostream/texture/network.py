"""The generator's network in torch, for training and for checking; what renders uses `generator.Generator`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils import parametrizations

from nanostream.texture.checkpoint import LAYERS, Checkpoint, Layer

if TYPE_CHECKING:
    from nanostream.texture.checkpoint import Spec

__all__ = ["ParameterNetwork"]

_DROPOUT = 0.2
"""Share of hidden values dropped in training, as published."""


class ParameterNetwork(nn.Module):
    """Four hidden layers with ReLU and dropout, a sigmoid at the end; every layer weight-normalised."""

    low: torch.Tensor
    high: torch.Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self._spec = spec
        # Any: torch adds `parametrizations` to the layers while the program runs.
        self.linear: Any = nn.ModuleList(
            parametrizations.weight_norm(nn.Linear(columns, rows)) for rows, columns in spec.shapes
        )
        self.dropout = nn.Dropout(_DROPOUT)
        bounds = [(spec.stage_bounds, spec.learned_stage), (spec.particle_bounds, spec.learned_particle)]
        rows = [(bound.low, bound.high) for bound, names in bounds for _ in names]
        low, high = torch.tensor([*rows, (spec.noise_bounds.low, spec.noise_bounds.high)]).T
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> ParameterNetwork:
        """The network with a checkpoint's weights, in evaluation mode: nothing is dropped."""
        network = cls(checkpoint.spec)
        with torch.no_grad():
            for linear, layer in zip(network.linear, checkpoint.layers, strict=True):
                weight = linear.parametrizations.weight
                weight.original0.copy_(torch.from_numpy(layer.magnitude))
                weight.original1.copy_(torch.from_numpy(layer.direction))
                linear.bias.copy_(torch.from_numpy(layer.bias))
        return network.eval()

    def checkpoint(self) -> Checkpoint:
        """The weights as they are now, with the description that the network was built from."""
        layers = []
        for linear in self.linear:
            weight = linear.parametrizations.weight
            parts = (weight.original1, weight.original0, linear.bias)
            layers.append(Layer(*(part.detach().cpu().float().numpy().copy() for part in parts)))
        assert len(layers) == LAYERS
        return Checkpoint(self._spec, tuple(layers))

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        """(m, k) outputs in the order of `spec.outputs`, each within its bounds; positions: (m, n, 4) float32."""
        signal = positions.flatten(1)
        *hidden, last = self.linear
        for linear in hidden:
            signal = self.dropout(torch.relu(linear(signal)))
        return self.low + (self.high - self.low) * torch.sigmoid(last(signal))
