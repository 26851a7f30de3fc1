"""Which recipe an address means."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

from nanostream.errors import NanostreamError, RecipeError
from nanostream.gateway.knobs import parse_variant
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
        self.recipes = {recipe.name: recipe for recipe in recipes}
        self.variants = variants
        self._known: collections.OrderedDict[str, StreamRecipe] = collections.OrderedDict()
        self._names = {recipe.hash: name for name, recipe in self.recipes.items()}

    def find(self, text: str) -> StreamRecipe:
        """The recipe of NAME or NAME,FIELD=NUMBER,... Raises UnknownError, ForbiddenError or RecipeError."""
        recipe = self.recipes.get(text) or self._known.get(text)
        if recipe is not None:
            return recipe
        name, *assignments = text.split(",")
        base = self.recipes.get(name)
        if base is None:
            msg = f"expected one of the recipes {', '.join(self.recipes)}, got {name[:80]!r}"
            raise UnknownError(msg)
        if not self.variants:
            msg = "expected a recipe as it is, got one with fields set, which this gateway does not allow"
            raise ForbiddenError(msg)
        if not isinstance(base, Recipe):
            msg = f"expected a recipe with fields that may vary, got {name!r}, which has none"
            raise RecipeError(msg)
        variant = parse_variant(base, assignments)
        self._known[text] = variant
        self._names[variant.hash] = text
        while len(self._known) > _VARIANTS:
            _, gone = self._known.popitem(last=False)
            self._names.pop(gone.hash, None)
        return variant

    def name_of(self, recipe: StreamRecipe) -> str:
        """What stands in an address for a recipe that `find` gave."""
        return self._names.get(recipe.hash, recipe.name)
