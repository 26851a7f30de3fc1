"""A sample's receipt: what gives the sample back wherever its recipe is. Under 200 bytes of text.

ns1:<recipe's hash>:<build's hash>:<seed>:<index>
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from typing import TYPE_CHECKING, Any

from nanostream.errors import RecipeError, SampleIndexError, StateError
from nanostream.seeding import check_index, check_seed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nanostream.recipe import Recipe
    from nanostream.sample import Sample

__all__ = ["Receipt", "find_recipe", "replay"]

_TEXT = re.compile(r"ns1:([0-9a-f]{8,64}):([0-9a-f]{8,64}):(\d{1,16}):(\d{1,16})")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Both hashes, seed and index of one sample."""

    recipe: str
    build: str
    seed: int
    index: int

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> Receipt:
        """The receipt of a sample's metadata."""
        return cls(recipe=meta["recipe"], build=meta["build"], seed=meta["seed"], index=meta["index"])

    @classmethod
    def parse(cls, text: str) -> Receipt:
        """The receipt of `str(receipt)`; raises StateError for anything else."""
        found = _TEXT.fullmatch(text.strip())
        if found is None:
            msg = f"expected a receipt such as ns1:<recipe>:<build>:<seed>:<index>, got {text[:200]!r}"
            raise StateError(msg)
        recipe, build, seed, index = found.groups()
        try:
            return cls(recipe=recipe, build=build, seed=check_seed(int(seed)), index=check_index(int(index)))
        except SampleIndexError as error:
            msg = f"{error} in the receipt {text[:200]!r}"
            raise StateError(msg) from None

    def __str__(self) -> str:
        return f"ns1:{self.recipe}:{self.build}:{self.seed}:{self.index}"


def find_recipe(recipe_hash: str, *, recipes: Iterable[Recipe] = ()) -> Recipe:
    """The recipe of that hash among `recipes` and the presets; raises RecipeError where there is none."""
    from nanostream.recipe import Recipe, preset_names

    looked = []
    for recipe in (*recipes, *(Recipe.preset(name) for name in preset_names())):
        if recipe.hash == recipe_hash:
            return recipe
        looked.append(recipe.name)
    msg = (
        f"expected the recipe {recipe_hash[:12]} of the receipt, got only {', '.join(looked)} with other hashes; "
        "give the recipe's file"
    )
    raise RecipeError(msg)


def replay(receipt: Receipt, *, recipes: Iterable[Recipe] = (), strict: bool = False) -> Sample:
    """The sample of a receipt. Another build than the receipt's warns, and raises StateError with `strict`.

    recipes: where to look for the recipe beside the presets. Raises RecipeError where it is not there.
    """
    from nanostream.render.backend import start
    from nanostream.synth import render

    recipe = find_recipe(receipt.recipe, recipes=recipes)
    backend = start()
    build = recipe.build_hash(backend)
    if build != receipt.build:
        msg = (
            f"expected the receipt's build {receipt.build[:12]}, got {build[:12]} ({backend}): the sample may differ "
            "in single pixels; install what rendered it"
        )
        if strict:
            raise StateError(msg)
        warnings.warn(msg, stacklevel=2)
    return render(recipe, index=receipt.index, seed=receipt.seed)
