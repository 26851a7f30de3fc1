"""The learned method: a latent map learns, against a discriminator and a population's statistics, to texture scenes.

Everything random in a step comes from its number, so that a run that was stopped goes on as if it never had been.

Legend: B = patches of a step, P = their edge in pixels, L = numbers of the latent.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nanostream.gan.discriminator import Contrasted, patch_discriminator
from nanostream.gan.effect_network import EffectNetwork
from nanostream.gan.look import LookRenderer
from nanostream.gan.statistics import Scales, describe_all, describe_patches, energy_distance
from nanostream.gan.windows import windows
from nanostream.seeding import Purpose, generator
from nanostream.texture.effects import EFFECTS

if TYPE_CHECKING:
    from nanostream.gan.patches import RealPatches
    from nanostream.scene.config import SceneConfig
    from nanostream.texture.latent import LatentMap

__all__ = ["LearnedTrainer", "Losses", "TrainerConfig"]


_DRAWS = 256
"""Latents from which the effects' distributions are taken."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainerConfig:
    """How a texture is learned."""

    patch_px: int = 128
    """Edge of the patches."""
    batch: int = 8
    """Patches a step."""
    latents: int = 12
    """Numbers that a picture's look is drawn from."""
    hidden: int = 32
    """Hidden values of the latent map."""
    filters: int = 24
    """Of the discriminator's first layer."""
    rate: float = 5e-3
    """Of the latent map's Adam, at first."""
    decay: float = 0.998
    """Share of the latent map's rate that a step leaves."""
    discriminator_rate: float = 5e-4
    """Of the discriminator's Adam."""
    adversarial: float = 0.5
    """Weight of the discriminator's opinion beside the population's statistics."""
    prior: float = 0.005
    """Weight of how far each effect's distribution has left the one before any picture was seen, in nats."""
    real_for_each: int = 3
    """Real patches that the statistics take for each rendered one."""
    memory: float = 0.99
    """Share of the averaged weights that a step keeps; these are what is written."""
    seed: int = 0
    """Of everything random."""


@dataclasses.dataclass(frozen=True, slots=True)
class Losses:
    """Of one step. statistics: the population's; generator, discriminator: least squares."""

    statistics: float
    generator: float
    discriminator: float


class LearnedTrainer:
    """Takes steps; its state can be saved and loaded."""

    def __init__(self, real: RealPatches, scene: SceneConfig, *, pixel_nm: float, config: TrainerConfig) -> None:
        self._real, self._scene, self._pixel_nm, self.config = real, scene, pixel_nm, config
        self.steps = 0
        numbers = describe_all(real.pictures)
        self._scales = Scales(numbers)
        self._real_numbers = self._scales(numbers)
        random = torch.Generator().manual_seed(config.seed)
        sizes = {"latents": config.latents, "hidden": config.hidden}
        self.network = EffectNetwork(EFFECTS, **sizes, random=random)
        self._averaged = copy.deepcopy(self.network).requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self._critic = patch_discriminator(channels=2, filters=config.filters, norm="spectral")
        self._contrasted = Contrasted()
        self._renderer = LookRenderer(batch=config.batch, patch_px=config.patch_px, pixel_nm=pixel_nm)
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=config.rate, betas=(0.5, 0.99))
        self._critic_optimizer = torch.optim.Adam(
            self._critic.parameters(), lr=config.discriminator_rate, betas=(0.5, 0.999)
        )

    def step(self) -> Losses:
        """One step of generator and discriminator."""
        config = self.config
        rng = generator(config.seed, self.steps, Purpose.TRAINING)
        size = {"patch_px": config.patch_px, "pixel_nm": self._pixel_nm}
        first = self.steps * config.batch
        ensembles = windows(self._scene, **size, seed=config.seed, first=first, count=config.batch)
        z = torch.from_numpy(rng.standard_normal((config.batch, config.latents), np.float32))
        rendered = self._renderer.render(ensembles, self.network(z), rng)
        # Real patches as crowded as the rendered ones: the texture shall not make up for another number of particles.
        alike = self._real.like(np.tile(rendered.coverage, config.real_for_each), rng)
        real = torch.from_numpy(self._real.flipped(alike[: config.batch], rng))

        numbers = {name: values[alike] for name, values in self._real_numbers.items()}
        statistics = energy_distance(self._scales(describe_patches(rendered.pictures)), numbers)
        self._critic.requires_grad_(False)
        adversarial = (self._score(rendered.pictures) - 1).square().mean()
        self._optimizer.zero_grad()
        many = torch.from_numpy(rng.standard_normal((_DRAWS, config.latents), np.float32))
        prior = self.network.surprise(many)
        (statistics + config.adversarial * adversarial + config.prior * prior).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimizer.step()
        for group in self._optimizer.param_groups:
            group["lr"] *= config.decay

        self._critic.requires_grad_(True)
        told = (self._score(real) - 1).square().mean() + self._score(rendered.pictures.detach()).square().mean()
        self._critic_optimizer.zero_grad()
        (told / 2).backward()
        self._critic_optimizer.step()

        self._average()
        self.steps += 1
        return Losses(statistics.item(), adversarial.item(), told.item() / 2)

    def texture(self) -> LatentMap:
        """What renders: the averaged weights."""
        return self._averaged.latent_map()

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
            "averaged": self._averaged,
            "critic": self._critic,
            "optimizer": self._optimizer,
            "critic_optimizer": self._critic_optimizer,
        }

    def _score(self, pictures: torch.Tensor) -> torch.Tensor:
        return self._critic(self._contrasted(pictures))

    def _average(self) -> None:
        # Young averages forget faster: the start is not what shall be remembered.
        kept = min(self.config.memory, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for mean, new in zip(self._averaged.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(new, 1 - kept)
