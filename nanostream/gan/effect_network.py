"""The latent map in torch, for learning; what renders uses `texture.latent.LatentMap`.

Legend: B = pictures, L = numbers of the latent, M = hidden values, K = effects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from nanostream.texture.latent import TENSORS, LatentMap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanostream.texture.effects import Effect

__all__ = ["PRIOR_SD", "EffectNetwork"]

PRIOR_SD = 0.7
"""Standard deviation of the logits that is thought likely of an effect before any picture is seen."""
_SPREAD = 0.35
"""Standard deviation of the logits before anything is learned: pictures differ a little from the first step on."""


class EffectNetwork(nn.Module):
    """Effects of pictures from their latents."""

    low: torch.Tensor
    high: torch.Tensor
    usual: torch.Tensor
    log: torch.Tensor

    def __init__(self, effects: Mapping[str, Effect], *, latents: int, hidden: int, random: torch.Generator) -> None:
        super().__init__()
        self.effects = dict(effects)
        K = len(self.effects)
        rows = self.effects.values()
        low, high, start = (
            torch.tensor([getattr(effect, name) for effect in rows], dtype=torch.float64)
            for name in ("low", "high", "start")
        )
        self.register_buffer("low", low.float(), persistent=False)
        self.register_buffer("high", high.float(), persistent=False)
        self.register_buffer("log", torch.tensor([effect.log for effect in rows]), persistent=False)
        # The even ones' logarithms may be none: they are not chosen.
        share = torch.where(self.log, torch.log(start / low) / torch.log(high / low), (start - low) / (high - low))

        def normal(*shape: int, sd: float) -> nn.Parameter:
            return nn.Parameter(sd * torch.randn(shape, generator=random))

        self.register_buffer("usual", torch.logit(share).float(), persistent=False)
        self.bias = nn.Parameter(self.usual.clone())
        self.linear = normal(K, latents, sd=_SPREAD * latents**-0.5)
        self.out = normal(K, hidden, sd=0.0)
        self.hidden = normal(hidden, latents, sd=latents**-0.5)
        self.shift = normal(hidden, sd=0.5)

    def forward(self, z: torch.Tensor) -> dict[str, torch.Tensor]:
        """Effects by name, (B,) each, of latents (B, L)."""
        share = torch.sigmoid(self.logits(z))
        even = self.low + (self.high - self.low) * share
        # Where 1 stands in, the gradient of what is not chosen is a number, and so 0 in all.
        low, high = (torch.where(self.log, end, 1.0) for end in (self.low, self.high))
        values = torch.where(self.log, low * (high / low) ** share, even)
        return dict(zip(self.effects, values.T, strict=True))

    def logits(self, z: torch.Tensor) -> torch.Tensor:
        """Where each effect lies between its limits, (B, K), of latents (B, L)."""
        inner = torch.tanh(z @ self.hidden.T + self.shift)
        return self.bias + z @ self.linear.T + inner @ self.out.T

    def surprise(self, z: torch.Tensor) -> torch.Tensor:
        """Kullback-Leibler divergence in nats of the effects, each by itself, from what they are before any picture.

        Normal distributions of the logits are assumed, before any picture with `start` as their middle: what the
        pictures do not tell varies, and about what is usual. z: (B, L), many.
        """
        logits = self.logits(z)
        off = (logits.mean(0) - self.usual) / PRIOR_SD
        spread = logits.std(0) / PRIOR_SD
        return ((off.square() + spread.square() - 1) / 2 - spread.log()).sum()

    def latent_map(self) -> LatentMap:
        """What renders, with the weights as they are now."""
        arrays = {name: getattr(self, name).detach().float().numpy().copy() for name in TENSORS}
        return LatentMap(effects=self.effects, **arrays)

    @classmethod
    def from_map(cls, latent: LatentMap) -> EffectNetwork:
        """The network with a map's weights."""
        network = cls(latent.effects, latents=latent.latents, hidden=len(latent.shift), random=torch.Generator())
        network.load_state_dict({name: torch.from_numpy(getattr(latent, name).copy()) for name in TENSORS})
        return network
