"""Which recipe an address means."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

from nanostream.errors import NanostreamError, RecipeError
from nanostream.gateway.knobs import parse_variant
from nanostream.gateway.order import Offer
from nanostream.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nanostream.stream.engine import StreamRecipe

__all__ = ["ForbiddenError", "Menu", "UnknownError"]

_VARIANTS = 256


class UnknownError(NanostreamError, LookupError):
    """There is nothing of that name here."""


class ForbiddenError(NanostreamError):
    """There could be, but this gateway does not allow it."""


class Menu:
    """Recipes by name; with `variants`, also with fields set within bounds."""

    def __init__(self, recipes: Iterable[StreamRecipe], *, variants: bool) -> None:
        self.offers = {recipe.name: Offer.of(recipe.name, recipe) for recipe in recipes}
        self.variants = variants
        self._known: collections.OrderedDict[str, Offer] = collections.OrderedDict()

    def find(self, text: str) -> Offer:
        """The recipe of NAME or NAME,FIELD=NUMBER,... Raises UnknownError, ForbiddenError or RecipeError."""
        offer = self.offers.get(text) or self._known.get(text)
        if offer is not None:
            return offer
        name, *assignments = text.split(",")
        base = self.offers.get(name)
        if base is None:
            msg = f"expected one of the recipes {', '.join(self.offers)}, got {name[:80]!r}"
            raise UnknownError(msg)
        if not self.variants:
            msg = "expected a recipe as it is, got one with fields set, which this gateway does not allow"
            raise ForbiddenError(msg)
        if not isinstance(base.recipe, Recipe):
            msg = f"expected a recipe with fields that may vary, got {name!r}, which has none"
            raise RecipeError(msg)
        self._known[text] = Offer.of(text, parse_variant(base.recipe, assignments))
        while len(self._known) > _VARIANTS:
            self._known.popitem(last=False)
        return self._known[text]
