"""Single samples over HTTP: their forms, their receipts, and variants of a recipe within bounds."""

from __future__ import annotations

import functools
import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
import pytest
import requests
from PIL import Image

from nanostream.errors import RecipeError
from nanostream.gateway.config import GatewayConfig
from nanostream.gateway.knobs import knobs_of, parse_variant
from nanostream.gateway.server import serving
from nanostream.receipt import Receipt
from nanostream.recipe import Recipe, preset_names
from nanostream.testing import FakeRecipe, FakeSynth

if TYPE_CHECKING:
    from collections.abc import Iterator

RECIPE = FakeRecipe(height=32, width=24)
WANT = FakeSynth(RECIPE).render(seed=4, index=17)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    recipes = (RECIPE, Recipe.preset("tio2-sem"))
    with serving(GatewayConfig(recipes=recipes, port=0, workers=0, synth=FakeSynth, allow_recipes=True)) as address:
        yield address


def get(url: str) -> requests.Response:
    answer = requests.get(url, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer


def pixels(content: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_png_pair(address: str) -> None:
    """The zip holds image, 16-bit labels and metadata, and each is to be had by itself."""
    url = f"{address}/v1/fake/samples/4/17"
    archive = zipfile.ZipFile(io.BytesIO(get(url).content))
    assert archive.namelist() == ["image.png", "mask.png", "meta.json"]
    for name, want in (("image.png", WANT.image), ("mask.png", WANT.mask)):
        assert archive.read(name) == get(f"{url}/{name}").content
        assert np.array_equal(pixels(archive.read(name)), want)
    assert json.loads(archive.read("meta.json")) == WANT.meta
    overlay = pixels(get(f"{url}/overlay.png").content)
    assert np.array_equal(overlay[..., 3] > 0, WANT.mask > 0)


def test_npz_and_msgpack(address: str) -> None:
    """Both forms hold the very pixels and metadata; npz opens without pickle."""
    with np.load(io.BytesIO(get(f"{address}/v1/fake/samples/4/17?format=npz").content), allow_pickle=False) as file:
        assert np.array_equal(file["image"], WANT.image)
        assert np.array_equal(file["mask"], WANT.mask)
        assert json.loads(file["meta"].tobytes()) == WANT.meta
    told = msgpack.unpackb(get(f"{address}/v1/fake/samples/4/17?format=msgpack").content)
    assert np.array_equal(np.frombuffer(told["image"], np.uint8).reshape(told["shape"]), WANT.image)
    assert np.array_equal(np.frombuffer(told["mask"], "<u2").reshape(told["shape"]), WANT.mask)
    assert told["meta"] == WANT.meta


def test_every_form_is_the_same_bytes_each_time(address: str) -> None:
    """Another gateway gives the same bytes and the same ETag for every form."""
    with serving(GatewayConfig(recipes=(RECIPE,), port=0, workers=0, synth=FakeSynth)) as other:
        for tail in ("", "?format=npz", "?format=msgpack", "/image.png", "/mask.png", "/overlay.png", "/meta.json"):
            one, two = (get(f"{base}/v1/fake/samples/1/2{tail}") for base in (address, other))
            assert (one.content, one.headers["etag"]) == (two.content, two.headers["etag"])


def test_replay_gives_the_samples_of_receipts(address: str) -> None:
    """POST /v1/replay gives each receipt's sample, in order; another build is refused only when strict."""
    receipts = [str(Receipt.of(FakeSynth(RECIPE).render(seed=2, index=index).meta)) for index in (9, 3)]
    answer = requests.post(f"{address}/v1/replay", json={"receipts": receipts, "strict": True}, timeout=60)
    samples = msgpack.unpackb(answer.content)["samples"]
    assert [sample["index"] for sample in samples] == [9, 3]
    assert samples[0]["image"] == FakeSynth(RECIPE).render(seed=2, index=9).image.tobytes()
    other = receipts[0].replace(RECIPE.build_hash("fake"), "0" * 64)
    assert requests.post(f"{address}/v1/replay", json={"receipts": [other]}, timeout=60).status_code == 200
    strict = requests.post(f"{address}/v1/replay", json={"receipts": [other], "strict": True}, timeout=60)
    assert strict.status_code == 409


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[" * 5000, 400),
        (b"{}", 400),
        (b'{"receipts": []}', 400),
        (b'{"receipts": ["nonsense"]}', 400),
        (b'{"receipts": "ns1"}', 400),
        (b'{"receipts": ["ns1:00000000:00000000:0:0"]}', 404),
        (b'{"receipts": ["ns1:00000000:00000000:0:0"], "more": 1}', 400),
        (json.dumps({"receipts": ["x"] * 65}).encode(), 400),
        (b"x" * (1 << 17), 413),
    ],
)
def test_wrong_replays_are_refused(address: str, body: bytes, status: int) -> None:
    """What is no list of receipts is answered with one sentence, and nothing is rendered."""
    answer = requests.post(f"{address}/v1/replay", data=body, headers={"content-type": "application/json"}, timeout=60)
    assert answer.status_code == status
    assert answer.json()["error"].startswith("expected")


def test_variant_stands_in_the_address(address: str) -> None:
    """A variant's samples are those of the recipe with that field set, whichever gateway renders them."""
    told = get(f"{address}/v1/tio2-sem,scene.sizes.median_nm=150.5").json()
    variant = Recipe.preset("tio2-sem").replaced("scene.sizes.median_nm=150.5")
    assert told["recipe"] == variant.hash
    meta = get(f"{address}/v1/tio2-sem,scene.sizes.median_nm=150.5/samples/0/1/meta.json").json()
    assert meta["recipe"] == variant.hash
    one, two = ("scene.sizes.median_nm=150", "scene.sizes.sigma=0.45")
    hashes = {get(f"{address}/v1/tio2-sem,{a},{b}").json()["recipe"] for a, b in ((one, two), (two, one))}
    assert len(hashes) == 1


@pytest.mark.parametrize("name", preset_names())
def test_knobs_at_their_ends_are_valid_recipes(name: str) -> None:
    """Every preset with knobs takes each of them at its least and at its greatest value."""
    recipe = Recipe.preset(name)
    for knob in knobs_of(recipe):
        assert knob.least <= knob.value <= knob.most
        for value in (knob.least, knob.most):
            assert parse_variant(recipe, [f"{knob.field}={value:.9g}"]).hash != recipe.hash or value == knob.value


@pytest.mark.parametrize(
    "assignment",
    [
        "picture.height=4096",
        "camera.particle_samples=65536",
        "texture.file=passwd",
        "scene.shape.kind=mesh",
        "scene.sizes.median_nm=1",
        "scene.sizes.median_nm=1e2",
        "scene.sizes.median_nm=nan",
        "scene.sizes.median_nm=",
        "scene.sizes.median_nm",
        "",
        "__class__=1",
        "scene.sizes.median_nm=160,scene.sizes.median_nm=161",
    ],
)
def test_only_numbers_within_bounds_may_vary(address: str, assignment: str) -> None:
    """Sizes, rays, files, kinds and numbers out of bounds are refused with 400."""
    answer = requests.get(f"{address}/v1/tio2-sem,{assignment}/samples/0/0", timeout=60)
    assert answer.status_code == 400, answer.text
    with pytest.raises(RecipeError):
        parse_variant(Recipe.preset("tio2-sem"), assignment.split(","))


def test_variants_need_leave() -> None:
    """Without allow_recipes a variant is answered 403."""
    with serving(GatewayConfig(recipes=(Recipe.preset("tio2-sem"),), port=0, workers=0, synth=FakeSynth)) as address:
        answer = requests.get(f"{address}/v1/tio2-sem,scene.sizes.median_nm=150/samples/0/0", timeout=60)
        assert answer.status_code == 403


def test_many_clients_cost_one_render() -> None:
    """A sample that several forms and clients ask for is rendered once."""
    settings = GatewayConfig(recipes=(RECIPE,), port=0, workers=0, synth=functools.partial(FakeSynth, seconds=0.1))
    with serving(settings) as address:
        for tail in ("", "?format=npz", "/image.png", "/overlay.png"):
            get(f"{address}/v1/fake/samples/0/5{tail}")
        assert get(f"{address}/live").json()["rendered"] == 1
