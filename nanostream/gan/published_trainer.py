"""The published method: a generator from scenes to parameters learns against a discriminator, and nothing else.

One rendered picture and one real patch a step, as published; the placement's numbers go in, the surfaces of particles
and stage and the noise come out.

Legend: n = particles, k = learned parameters, P = edge of a picture in pixels.
Source: Possart et al. 2025, doi:10.1038/s41524-025-01702-6, github.com/dpossart/DiffRenderGAN (MIT).
"""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from nanostream.gan.discriminator import patch_discriminator
from nanostream.gan.trainer import Losses
from nanostream.render import backend
from nanostream.scene.published import place
from nanostream.seeding import Purpose, generator
from nanostream.texture.network import ParameterNetwork
from nanostream.texture.parameters import Shading

if TYPE_CHECKING:
    from nanostream.gan.patches import RealPatches
    from nanostream.scene.published import PublishedSceneConfig
    from nanostream.texture.checkpoint import Checkpoint, Spec

__all__ = ["PublishedConfig", "PublishedTrainer"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PublishedConfig:
    """How the published generator is learned."""

    patch_px: int = 256
    """Edge of the pictures."""
    filters: int = 64
    """Of the discriminator's first layer."""
    layers: int = 3
    """Of the discriminator behind the first; with 3 each score sees 70 x 70 pixels."""
    rate: float = 2e-4
    """Of the generator's Adam."""
    discriminator_rate: float = 1e-4
    """Of the discriminator's Adam."""
    seed: int = 0
    """Of everything random."""


class PublishedTrainer:
    """Takes steps; its state can be saved and loaded."""

    def __init__(self, real: RealPatches, scene: PublishedSceneConfig, spec: Spec, config: PublishedConfig) -> None:
        # Mitsuba is imported behind the choice of its backend.
        backend.start()
        from nanostream.render.crossing import PublishedCrossing

        self._real, self._scene, self._spec, self.config = real, scene, spec, config
        self.steps = 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = ParameterNetwork(spec)
            for linear in self.network.linear:
                nn.init.xavier_normal_(linear.parametrizations.weight.original1)
                nn.init.zeros_(linear.bias)
            self._critic = patch_discriminator(filters=config.filters, layers=config.layers)
        self._crossing = PublishedCrossing(scene, height=config.patch_px, width=config.patch_px)
        # As published, each surface starts from the other's constants.
        self._constants = Shading(stage=spec.particle, particle=spec.stage, noise_std=0.0)
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=config.rate, betas=(0.5, 0.999))
        self._critic_optimizer = torch.optim.Adam(
            self._critic.parameters(), lr=config.discriminator_rate, betas=(0.5, 0.999)
        )

    def step(self) -> Losses:
        """One step of generator and discriminator."""
        config = self.config
        rng = generator(config.seed, self.steps, Purpose.TRAINING)
        with torch.random.fork_rng(devices=[]):
            # Dropout draws from torch's own generator.
            torch.manual_seed(int(rng.integers(2**31)))
            rendered = self._render(rng)[None, None]
        which = rng.integers(len(self._real.pictures), size=1)
        real = torch.from_numpy(self._real.flipped(which, rng, turns=True))[:, None]

        self._critic.requires_grad_(False)
        adversarial = (self._critic(rendered) - 1).square().mean()
        self._optimizer.zero_grad()
        adversarial.backward()
        self._optimizer.step()

        self._critic.requires_grad_(True)
        told = (self._critic(real) - 1).square().mean() + self._critic(rendered.detach()).square().mean()
        self._critic_optimizer.zero_grad()
        (told / 2).backward()
        self._critic_optimizer.step()
        self.steps += 1
        return Losses(0.0, adversarial.item(), told.item() / 2)

    def texture(self) -> Checkpoint:
        """The weights as they are now."""
        return self.network.checkpoint()

    def slow_down(self, factor: float) -> None:
        """Multiply the rates."""
        for optimizer in (self._optimizer, self._critic_optimizer):
            for group in optimizer.param_groups:
                group["lr"] *= factor

    def state(self) -> dict[str, Any]:
        """Everything that steps change, as a copy; tensors and plain values."""
        return {"steps": self.steps} | {name: copy.deepcopy(part.state_dict()) for name, part in self._parts().items()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.steps = state["steps"]
        for name, part in self._parts().items():
            part.load_state_dict(copy.deepcopy(state[name]))

    def _parts(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "critic": self._critic,
            "optimizer": self._optimizer,
            "critic_optimizer": self._critic_optimizer,
        }

    def _render(self, rng: np.random.Generator) -> torch.Tensor:
        """(P, P) picture in [0, 1], with gradients to the network's weights."""
        positions = place(self._scene.placement, self._spec.particles, rng)
        self._crossing.load(positions, self._constants)
        values = self.network(torch.from_numpy(positions.astype(np.float32))[None])[0]
        seed = int(rng.integers(2**32))
        radiance = self._crossing.radiance(self._spec.outputs[:-1], values[:-1], seed=seed).clamp(0, 1)
        noise = torch.from_numpy(rng.standard_normal(radiance.shape, np.float32))
        return (radiance + noise * values[-1]).clamp(0, 1)
