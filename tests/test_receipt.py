"""Receipts: small, exact, and enough to have the sample again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanostream.cli import app
from nanostream.dataset import StreamingDataset
from nanostream.errors import RecipeError, StateError
from nanostream.formats.codec import decode
from nanostream.receipt import Receipt, find_recipe, replay
from nanostream.recipe import Recipe
from nanostream.synth import render
from nanostream.testing import FakeRecipe

if TYPE_CHECKING:
    import pathlib

HASHES = st.text("0123456789abcdef", min_size=8, max_size=64)
NUMBERS = st.integers(0, 2**53)


@given(HASHES, HASHES, NUMBERS, NUMBERS)
def test_receipt_survives_its_text(recipe: str, build: str, seed: int, index: int) -> None:
    """A receipt comes back from its text, which has fewer than 200 bytes."""
    receipt = Receipt(recipe=recipe, build=build, seed=seed, index=index)
    assert Receipt.parse(str(receipt)) == receipt
    assert len(str(receipt).encode()) < 200


@pytest.mark.parametrize(
    "bad", ["", "ns1:a:b:1:2", f"ns2:{'a' * 32}:{'b' * 32}:1:2", f"ns1:{'a' * 32}:{'b' * 32}:1:-2"]
)
def test_what_is_no_receipt_is_refused(bad: str) -> None:
    """Any other text raises StateError, and so do numbers beyond 2^53."""
    with pytest.raises(StateError, match="receipt"):
        Receipt.parse(bad)
    with pytest.raises(StateError, match="2\\^53"):
        Receipt.parse(f"ns1:{'a' * 32}:{'b' * 32}:1:{2**53 + 1}")


def test_batches_carry_receipts() -> None:
    """With receipts=True each batch and each single sample says how to have it again."""
    settings = {"synth": "nanostream.testing:FakeSynth", "engine": "local", "seed": 5, "receipts": True}
    with StreamingDataset(FakeRecipe(), batch_size=3, **settings) as stream:
        parsed = [Receipt.parse(text) for text in next(iter(stream))["receipt"]]
    assert [(receipt.seed, receipt.index) for receipt in parsed] == [(5, 0), (5, 1), (5, 2)]
    assert {receipt.recipe for receipt in parsed} == {FakeRecipe().hash}
    with StreamingDataset(FakeRecipe(), batch_size=None, **settings) as stream:
        assert Receipt.parse(stream[7]["receipt"]).index == 7


def test_presets_and_given_recipes_are_found_by_hash() -> None:
    """The recipe is looked up among the given ones and the presets; none is an error with names."""
    preset = Recipe.preset("tio2-sem")
    own = preset.replaced("picture.height=32", "picture.width=40")
    assert find_recipe(preset.hash) == preset
    assert find_recipe(own.hash, recipes=[own]) == own
    with pytest.raises(RecipeError, match=r"tio2-sem.*give the recipe's file"):
        find_recipe(own.hash)


@pytest.mark.slow
def test_sample_comes_back(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """replay() and the command give the same bytes as the first time; another build warns or is refused."""
    recipe = Recipe.preset("tio2-sem").replaced("picture.height=48", "picture.width=64")
    first = render(recipe, index=17, seed=3)
    receipt = Receipt.of(first.meta)
    assert replay(receipt, recipes=[recipe]).digest() == first.digest()

    file = tmp_path / "recipe.json"
    file.write_text(recipe.dump())
    assert app.main(["replay", str(receipt), "--recipe", str(file), "-o", str(tmp_path / "again")]) == 0
    assert first.digest() in capsys.readouterr().out
    fields = {entry.name: entry.read_bytes() for entry in (tmp_path / "again").iterdir()}
    assert json.loads(fields["meta.json"])["index"] == 17
    assert decode(fields).digest() == first.digest()
    assert app.main(["replay", str(receipt), "--recipe", str(file), "-o", str(tmp_path / "again.png")]) == 0
    assert (tmp_path / "again.png").stat().st_size > 100

    other = Receipt(recipe=receipt.recipe, build="0" * 32, seed=3, index=17)
    with pytest.warns(UserWarning, match="receipt's build"):
        assert replay(other, recipes=[recipe]).digest() == first.digest()
    with pytest.raises(StateError, match="receipt's build"):
        replay(other, recipes=[recipe], strict=True)
    assert app.main(["replay", str(receipt), "-o", str(tmp_path / "no.png")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
