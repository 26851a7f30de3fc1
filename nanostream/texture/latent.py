"""From a random latent to a picture's effects: the learned part of a texture. Numbers only, no torch.

With z standard normal, (L,): logits = bias + linear z + out tanh(hidden z + shift), one for each of K effects;
an effect is low + (high - low) s, or low (high / low)^s, with s = logistic(logit).

Legend: L = numbers of the latent, M = hidden values, K = effects.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from nanostream.errors import TextureError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from nanostream.texture.effects import Effect

__all__ = ["TENSORS", "LatentMap"]

TENSORS = ("bias", "linear", "out", "hidden", "shift")
"""Names of a map's arrays: (K,), (K, L), (K, M), (M, L), (M,)."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LatentMap:
    """Effects and the arrays that give them, all float32; raises TextureError if they do not fit each other."""

    effects: Mapping[str, Effect]
    bias: npt.NDArray[np.float32]
    linear: npt.NDArray[np.float32]
    out: npt.NDArray[np.float32]
    hidden: npt.NDArray[np.float32]
    shift: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        """Check shapes, types and values."""
        K, L, M = len(self.effects), self.linear.shape[-1], len(self.shift)
        for name, shape in zip(TENSORS, ((K,), (K, L), (K, M), (M, L), (M,)), strict=True):
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
                msg = f"expected {name} of a learned texture to be finite float32 {shape}, got {array.dtype} "
                msg += f"{array.shape}: the file is damaged or belongs to another version"
                raise TextureError(msg)

    @property
    def latents(self) -> int:
        """L."""
        return self.linear.shape[1]

    def values(self, z: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
        """Effects by name, (m,) each, of latents (m, L)."""
        # einsum and not @: its order of summation does not depend on a BLAS library's threads.
        inner = np.tanh(np.einsum("ml,il->mi", z, self.hidden.astype(np.float64)) + self.shift)
        logits = np.einsum("ml,kl->mk", z, self.linear.astype(np.float64))
        logits += np.einsum("mi,ki->mk", inner, self.out.astype(np.float64)) + self.bias
        share = 0.5 * (1 + np.tanh(0.5 * logits))
        return {
            name: e.low * (e.high / e.low) ** s if e.log else e.low + (e.high - e.low) * s
            for (name, e), s in zip(self.effects.items(), share.T, strict=True)
        }
