"""The GAN's generator in use: positions and radii in, textural parameters out. Numbers only, no torch.

Legend: n = particles, m = placements, k = outputs. Each layer is y = relu(W x + b), the last sigmoid(W x + b);
an output p in (0, 1) becomes low + (high - low) p. Dropout acts in training only and is not here.
"""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Literal

import numpy as np
import pydantic

from nanostream.errors import TextureError
from nanostream.scene.published import place
from nanostream.texture.checkpoint import Checkpoint, load_checkpoint
from nanostream.texture.parameters import Shading

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Generator", "GeneratorTexture"]


class GeneratorTexture(pydantic.BaseModel):
    """A recipe's texture that is a learned generator."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    kind: Literal["generator"] = "generator"
    file: pathlib.Path
    """What `nanostream import-published` or `nanostream fit` wrote."""

    def load(self) -> Generator:
        """The generator in the file; raises TextureError if there is none."""
        return Generator(load_checkpoint(self.file))


class Generator:
    """A checkpoint's network, evaluated in float64."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        spec = checkpoint.spec
        self.spec = spec
        self._layers = [(layer.weight(), layer.bias.astype(np.float64)) for layer in checkpoint.layers]
        counts = (len(spec.learned_stage), len(spec.learned_particle), 1)
        bounds = (spec.stage_bounds, spec.particle_bounds, spec.noise_bounds)
        self._low = np.repeat([bound.low for bound in bounds], counts)
        self._high = np.repeat([bound.high for bound in bounds], counts)

    def values(self, positions: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """(m, k) outputs, in the order of `spec.outputs`, each within its bounds.

        positions: (m, n, 4), rows x, y, z, r in placement units. Raises TextureError for another shape.
        """
        wanted = (self.spec.particles, 4)
        if positions.ndim != len(wanted) + 1 or positions.shape[1:] != wanted:
            msg = f"expected positions of shape (m, {wanted[0]}, 4), got {positions.shape}: use this texture's meshes"
            raise TextureError(msg)
        # The network was trained on float32 positions.
        signal = positions.astype(np.float32).astype(np.float64).reshape(len(positions), -1)
        *hidden, (weight, bias) = self._layers
        for hidden_weight, hidden_bias in hidden:
            signal = np.maximum(_linear(signal, hidden_weight, hidden_bias), 0)
        # expit by tanh: it cannot overflow.
        share = 0.5 * (1 + np.tanh(0.5 * _linear(signal, weight, bias)))
        return self._low + (self._high - self._low) * share

    def shading(self, positions: npt.NDArray[np.floating], *, swapped: bool = False) -> Shading:
        """Surfaces and noise for one placement, (n, 4).

        swapped: the constants change places between stage and particles, as in the published renderer,
        which starts each surface from the other's; the learned values stay where they belong.
        """
        spec = self.spec
        values = dict(zip(spec.outputs, self.values(positions[None])[0].tolist(), strict=True))
        stage, particle = (spec.particle, spec.stage) if swapped else (spec.stage, spec.particle)
        return Shading(
            stage=stage.model_copy(update={name: values[f"stage.{name}"] for name in spec.learned_stage}),
            particle=particle.model_copy(update={name: values[f"particle.{name}"] for name in spec.learned_particle}),
            noise_std=values["noise_std"],
        )

    def draw(self, rng: np.random.Generator) -> Shading:
        """Surfaces and noise for a placement drawn as in training; for scenes with particles of their own."""
        return self.shading(place(self.spec.placement, self.spec.particles, rng))


def _linear(
    signal: npt.NDArray[np.float64], weight: npt.NDArray[np.float64], bias: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    # einsum and not @: its order of summation does not depend on a BLAS library's threads.
    return np.einsum("mi,oi->mo", signal, weight) + bias
