"""Recipes: presets, files, hashes, and what a wrong one is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trimesh

from nanostream.errors import RecipeError
from nanostream.recipe import Recipe, preset_names

if TYPE_CHECKING:
    import pathlib


def test_the_four_presets_are_there() -> None:
    """Each preset loads under its own name, and no two are the same."""
    assert preset_names() == ["agnw-sem", "sio2-him", "tio2-him", "tio2-sem"]
    assert [Recipe.preset(name).name for name in preset_names()] == preset_names()
    assert len({Recipe.preset(name).hash for name in preset_names()}) == 4
    assert Recipe.preset("tio2-sem").picture.pixel_nm == 7.344


def test_a_recipe_survives_json() -> None:
    """Dump and parse give an equal recipe with the same hash."""
    recipe = Recipe.preset("agnw-sem")
    again = Recipe.parse(recipe.dump())
    assert again == recipe
    assert again.hash == recipe.hash


def test_unknown_preset_names_the_nearest() -> None:
    """A misspelt preset is told which one was meant."""
    with pytest.raises(RecipeError, match=r"got 'tio2-sen'; did you mean 'tio2-sem'\?"):
        Recipe.preset("tio2-sen")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("picture.height=0", r"picture\.height: .*greater than or equal to 1, got 0"),
        ("picture.width=-3", r"picture\.width: .*got -3"),
        ("picture.pixel_nm=nan", r"picture\.pixel_nm: .*got 'nan'"),
        ("scene.sizes.median_nm=big", r"median_nm: .*valid number.*got 'big'"),
        ("scene.sizes.medain_nm=3", r"medain_nm: Extra inputs are not permitted, got 3"),
        ("detector.blur.mean=3", r"there is no 'blur' there"),
        ("scene.shape.kind=cube", r"scene\.particles\.shape.*got "),
        ("texture.particle.sheen.low=9", r"sheen: .*expected low <= mean <= high"),
        ("camera", r"expected FIELD=VALUE"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(assignment: str, message: str) -> None:
    """The error names the field and what came."""
    with pytest.raises(RecipeError, match=message):
        Recipe.preset("tio2-him").replaced(assignment)


def test_a_field_is_replaced() -> None:
    """`replaced` sets the field, and the hash sees it."""
    recipe = Recipe.preset("tio2-sem")
    other = recipe.replaced("scene.sizes.median_nm=120", "picture.height=64")
    assert other.picture.height == 64
    assert other.hash != recipe.hash
    assert json.loads(other.dump())["scene"]["sizes"]["median_nm"] == 120


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"name": "x"}'])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: pathlib.Path, text: str) -> None:
    """JSON that is broken or not a recipe raises RecipeError and nothing else."""
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(RecipeError):
        Recipe.load(path)
    with pytest.raises(RecipeError, match="cannot be read"):
        Recipe.load(tmp_path / "none.json")


def test_the_hash_covers_the_contents_of_files_and_not_their_place(tmp_path: pathlib.Path) -> None:
    """A recipe that moves with its mesh keeps its hash; another mesh under the same name changes it."""
    hashes = []
    for folder, radius in (("a", 1.0), ("b", 1.0), ("c", 2.0)):
        place = tmp_path / folder
        place.mkdir()
        trimesh.creation.icosphere(subdivisions=1, radius=radius).export(place / "ball.ply")
        values: dict[str, Any] = json.loads(Recipe.preset("tio2-sem").dump())
        values["scene"]["shape"] = {"kind": "mesh", "files": ["ball.ply"]}
        (place / "mine.json").write_text(json.dumps(values))
        hashes.append(Recipe.load(place / "mine.json").hash)
    assert hashes[0] == hashes[1] != hashes[2]


def test_build_hash_depends_on_the_backend() -> None:
    """Two backends never pass for one build."""
    recipe = Recipe.preset("tio2-sem")
    assert recipe.build_hash("llvm_ad_mono") != recipe.build_hash("cuda_ad_mono")
