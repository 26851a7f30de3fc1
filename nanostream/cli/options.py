"""Options that several commands share, so that each is spelled once and means one thing."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from nanostream.recipe import Recipe

__all__ = ["Count", "Out", "Preset", "Seed", "Settings", "load_recipe"]

Preset = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PRESET")]
"""Name of a preset, or path of a recipe file that ends in .json."""

Out = Annotated[pathlib.Path, tyro.conf.arg(aliases=["-o"], metavar="PATH")]


def _positive(words: list[str]) -> int:
    number = int(words[0])
    if number < 1:
        msg = f"expected at least 1, got {number}"
        raise ValueError(msg)
    return number


Count = Annotated[
    int,
    tyro.conf.arg(aliases=["-n"]),
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="N",
        instance_from_str=_positive,
        is_instance=lambda value: isinstance(value, int) and value > 0,
        str_from_instance=lambda value: [str(value)],
    ),
]
"""At least 1; anything else is wrong use."""

Seed = Annotated[int, tyro.conf.arg(metavar="SEED")]

Settings = Annotated[
    tuple[str, ...],
    tyro.conf.UseAppendAction,
    tyro.conf.arg(name="set", metavar="FIELD=VALUE"),
]
"""Fields of the recipe to change, such as `--set scene.sizes.median_nm=120`."""


def load_recipe(preset: str, settings: tuple[str, ...] = ()) -> Recipe:
    """Recipe of a preset's name or a .json file, with the settings applied.

    Raises RecipeError for an unknown preset, a file that is no recipe, or a wrong setting.
    """
    from nanostream.recipe import Recipe

    recipe = Recipe.named(preset)
    return recipe.replaced(*settings) if settings else recipe
