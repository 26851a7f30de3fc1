"""What a render worker of a gateway does: any recipe, in the bytes of any format."""

from __future__ import annotations

import collections
import dataclasses
from typing import TYPE_CHECKING, Any

from nanostream.formats.encoded import Encoded
from nanostream.formats.sinks import encoder
from nanostream.stream.actor import RecipeText
from nanostream.stream.engine import import_path, resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanostream.stream.engine import StreamRecipe, Synthesizer

__all__ = ["Offer", "Order", "OrderSynth"]

_KEPT = 4


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """A recipe as an address names it, with what would be worked out again for each sample.

    name: what stands in the address. shape: height and width of its pictures in pixels.
    """

    name: str
    recipe: StreamRecipe
    hash: str
    text: RecipeText
    shape: tuple[int, int]

    @classmethod
    def of(cls, name: str, recipe: Any) -> Offer:
        """The offer of a recipe."""
        text = RecipeText(import_path(type(recipe)), recipe.dump(), recipe.hash)
        picture = getattr(recipe, "picture", recipe)
        return cls(name, recipe, text.hash, text, (picture.height, picture.width))


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """An offer with a seed, in a format: "webdataset" or "zarr"."""

    offer: Offer
    seed: int
    format: str

    def terms(self) -> dict[str, Any]:
        """What `OrderSynth.render` takes beside seed and index; plain values, so that they travel."""
        return {"recipe": self.offer.text, "format": self.format}


class OrderSynth:
    """A renderer of many recipes; keeps the few that were used last. Runs where the pool renders."""

    def __init__(self, recipe: StreamRecipe, *, synth: str | Callable[..., Synthesizer]) -> None:
        self._factory = resolve(synth) if isinstance(synth, str) else synth
        first: Synthesizer = self._factory(recipe)
        self._synths = collections.OrderedDict({recipe.hash: first})
        self.backend = first.backend

    def render(self, *, seed: int, index: int, recipe: RecipeText, format: str) -> Encoded:  # noqa: A002 as elsewhere
        """The encoded sample of one index."""
        return Encoded.of(self._synth(recipe).render(seed=seed, index=index), encoder(format))

    def _synth(self, recipe: RecipeText) -> Synthesizer:
        if recipe.hash not in self._synths:
            self._synths[recipe.hash] = self._factory(recipe.parse())
            while len(self._synths) > _KEPT:
                self._synths.popitem(last=False)
        self._synths.move_to_end(recipe.hash)
        return self._synths[recipe.hash]
