"""How real a texture is during a fit, on pictures set aside; cheap enough for every minute.

Legend: m = pictures, P = edge of a patch in pixels.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from nanostream.gan.patches import RealPatches
from nanostream.gan.realism import compare, describe
from nanostream.gan.statistics import Scales, describe_all, energy_distance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Pictures: TypeAlias = Sequence[npt.NDArray[Any]]

__all__ = ["SEED", "Check", "Checker"]

SEED = 2**40
"""Of the scenes that are looked at, which no step renders."""

_PATCHES = 512


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """score: geometric mean of how many floors the measures are, one at the least: 1 is perfect, less is better.

    measures: value and floor by name: the distances of `realism`, and `patches`, of the populations' statistics.
    """

    step: int
    score: float
    measures: dict[str, tuple[float, float]]


class Checker:
    """Measures textures against the same real pictures, (H, W) float32 each, always in the same scenes.

    draw: pictures (E, E) uint8 and their masks of a texture, the same scenes at each call, E a multiple of `tile_px`.
    """

    def __init__(
        self,
        real: Sequence[npt.NDArray[np.float32]],
        draw: Callable[[Any], tuple[Pictures, Pictures]],
        *,
        patch_px: int,
        tile_px: int,
    ) -> None:
        self._tile_px, self._patch_px, self._draw = tile_px, patch_px, draw
        self._curves = describe([*real], tile_px=tile_px)
        self._patches = RealPatches(real, patch_px=patch_px, count=_PATCHES, rng=np.random.default_rng(SEED))
        numbers = describe_all(self._patches.pictures)
        self._scales = Scales(numbers)
        self._numbers = self._scales(numbers)

    def __call__(self, texture: Any, *, step: int) -> Check:
        """The measures of what the texture renders now."""
        pictures, masks = self._draw(texture)
        realism = compare(self._curves, describe(pictures, tile_px=self._tile_px))
        measures = {name: (each.value, each.floor) for name, each in realism.measures.items()}
        measures["patches"] = self._populations(pictures, masks)
        # Under its floor a measure is as good as it can be: what is left is chance.
        ratios = [math.log(max(value / max(floor, 1e-9), 1)) for value, floor in measures.values()]
        return Check(step=step, score=math.exp(sum(ratios) / len(ratios)), measures=measures)

    def _populations(self, pictures: Pictures, masks: Pictures) -> tuple[float, float]:
        """Distance of rendered from real patches, each as crowded as its partner, and of real ones from real ones."""
        P, rng = self._patch_px, np.random.default_rng(SEED)
        places = range(0, len(pictures[0]) - P + 1, P)
        patches, shown = (
            np.stack([each[y : y + P, x : x + P] for each in all_ for y in places for x in places])
            for all_ in (pictures, masks)
        )
        crowded = (shown > 0).mean(axis=(1, 2))
        rendered = self._scales(describe_all((patches / 255).astype(np.float32)))
        # Twice as many as wanted, in turn: two sets alike.
        alike = self._patches.like(np.repeat(crowded, 2), rng)
        one, other = (
            {name: values[half] for name, values in self._numbers.items()} for half in (alike[::2], alike[1::2])
        )
        # The part that chance adds to two finite populations is kept, so that no distance is below 0.
        apart = [
            energy_distance(*pair, biased=True).item() for pair in ((rendered, one), (rendered, other), (one, other))
        ]
        return (apart[0] + apart[1]) / 2, apart[2]
