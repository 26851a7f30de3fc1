"""The virtual Zarr store: what zarr-python reads from it, with one render a sample."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import requests
import zarr

from nanostream.export import export
from nanostream.gateway.config import GatewayConfig
from nanostream.gateway.server import serving
from nanostream.gateway.store import MOST_PARTICLES, SAMPLES
from nanostream.sample import PARTICLE_COLUMNS, Sample
from nanostream.testing import FakeRecipe, FakeSynth

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

RECIPE = FakeRecipe(height=32, width=24)


def config(**more: Any) -> GatewayConfig:
    return GatewayConfig(**{"recipes": (RECIPE,), "port": 0, "workers": 0, "synth": FakeSynth, **more})


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(config()) as address:
        yield address


def test_zarr_python_reads_any_sample(address: str) -> None:
    """Image, mask, index and particles of far apart samples are those of the renderer alone."""
    store = zarr.open(f"{address}/v1/fake/zarr/3", mode="r")
    alone = FakeSynth(RECIPE)
    assert store["image"].shape == store["mask"].shape == (1_000_000, 32, 24)
    for index in (0, 1, 123456, SAMPLES - 1):
        want = alone.render(seed=3, index=index)
        assert np.array_equal(store["image"][index], want.image)
        assert np.array_equal(store["mask"][index], want.mask)
        assert store["index"][index] == index
        count = store["particles/count"][index]
        assert count == len(want.meta["particles"]["label"])
        for name in PARTICLE_COLUMNS:
            assert store[f"particles/{name}"][index][:count].tolist() == want.meta["particles"][name]
    assert store.attrs["nanostream"]["recipe_hash"] == RECIPE.hash
    assert np.array_equal(store["image"][5:8], [alone.render(seed=3, index=index).image for index in (5, 6, 7)])


def test_rest_of_a_particle_row_is_padding(address: str) -> None:
    """Behind the particles that are seen a row holds zeros, False and NaN."""
    store = zarr.open(f"{address}/v1/fake/zarr/3", mode="r")
    count = int(store["particles/count"][9])
    assert 0 < count < MOST_PARTICLES
    assert not store["particles/label"][9][count:].any()
    assert not store["particles/cut"][9][count:].any()
    assert np.isnan(store["particles/diameter_nm"][9][count:]).all()


class Crowded(FakeSynth):
    """A renderer whose every picture shows more particles than a row holds."""

    def render(self, *, seed: int, index: int) -> Sample:
        """The sample, with a table that is too long."""
        sample = super().render(seed=seed, index=index)
        many = MOST_PARTICLES + 10
        particles = {name: [1.5] * many for name in PARTICLE_COLUMNS}
        particles |= {"label": list(range(1, many + 1)), "visible_px": [4] * many, "cut": [False] * many}
        sample.meta["particles"] = particles
        return sample


def test_more_particles_than_a_row_holds_are_counted() -> None:
    """The table holds the first of them, and the count says how many there are."""
    with serving(config(synth=Crowded)) as address:
        store = zarr.open(f"{address}/v1/fake/zarr/0", mode="r")
        assert store["particles/count"][2] == MOST_PARTICLES + 10
        assert store["particles/label"][2].tolist() == list(range(1, MOST_PARTICLES + 1))


def test_chunks_are_those_of_an_exported_store(address: str, tmp_path: pathlib.Path) -> None:
    """A chunk over HTTP stands byte for byte in the shard of an exported store."""
    export(RECIPE, format="zarr", count=4, out=tmp_path / "set", seed=3, synth=FakeSynth)
    for name in ("image", "mask"):
        shard = (tmp_path / "set" / name / "c" / "0" / "0" / "0").read_bytes()
        for index in range(4):
            chunk = requests.get(f"{address}/v1/fake/zarr/3/{name}/c/{index}/0/0", timeout=60).content
            assert len(chunk) > 20
            assert chunk in shard


def test_image_and_mask_share_one_render() -> None:
    """All arrays of one sample cost one render, asked for together or one after the other."""
    with serving(config(synth=functools.partial(FakeSynth, seconds=0.05))) as address:
        store = zarr.open(f"{address}/v1/fake/zarr/0", mode="r")
        for name in ("image", "mask", "particles/label", "particles/count"):
            store[name][17]
        assert requests.get(f"{address}/live", timeout=60).json()["rendered"] == 1


def test_nothing_inside_the_shape_is_missing(address: str) -> None:
    """Every chunk of every array is there at both ends, and what lies outside is 404."""
    documents = requests.get(f"{address}/v1/fake/zarr/0/zarr.json", timeout=60).json()
    arrays = documents["consolidated_metadata"]["metadata"]
    checked = 0
    for name, array in arrays.items():
        if array["node_type"] != "array":
            continue
        chunk = array["chunk_grid"]["configuration"]["chunk_shape"]
        last = -(-array["shape"][0] // chunk[0]) - 1
        tail = "/0" * (len(chunk) - 1)
        base = f"{address}/v1/fake/zarr/0/{name}/c"
        for row, status in ((0, 200), (last, 200), (last + 1, 404)):
            assert requests.get(f"{base}/{row}{tail}", timeout=60).status_code == status
            checked += 1
        for wrong in (f"00{tail}", f"-1{tail}", f"0{tail}/0", f"1e3{tail}", f"\u0660{tail}"):
            assert requests.get(f"{base}/{wrong}", timeout=60).status_code == 404
    assert checked == 3 * (4 + len(PARTICLE_COLUMNS))


def test_failed_render_is_an_error_and_never_zeros() -> None:
    """Where a sample cannot be rendered zarr-python raises; it reads only 404 as zeros."""
    with serving(config(synth=functools.partial(FakeSynth, broken={4}))) as address:
        store = zarr.open(f"{address}/v1/fake/zarr/0", mode="r")
        assert store["image"][3].any()
        with pytest.raises(Exception, match="500"):
            store["image"][4]
