"""One stream, however it is asked for: every way to the same samples gives the same bytes."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import ray
import torch
from torch.utils.data import DataLoader

from nanostream.collate import collate
from nanostream.dataset import StreamingDataset
from nanostream.export import export
from nanostream.recipe import Recipe
from nanostream.stored import ShardDataset, ZarrDataset
from nanostream.synth import render

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable, Iterator

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:This DataLoader will create")]

COUNT, BATCH, SEED = 24, 4, 3


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """The preset, in pictures small enough to render them many times over."""
    return Recipe.preset("tio2-sem").replaced("picture.height=96", "picture.width=128")


def digest(batches: Iterable[dict[str, Any]]) -> str:
    """SHA-256 over the images, masks and indices of the first COUNT samples."""
    sha, count = hashlib.sha256(), 0
    for batch in batches:
        for name in ("index", "image", "mask"):
            sha.update(np.ascontiguousarray(batch[name].numpy()).tobytes())
        count += len(batch["index"])
        if count >= COUNT:
            break
    assert count == COUNT
    return sha.hexdigest()


def stream(recipe: Recipe, **settings: Any) -> StreamingDataset:
    return StreamingDataset(recipe, seed=SEED, batch_size=BATCH, **settings)


def killing(dataset: StreamingDataset) -> Iterator[dict[str, Any]]:
    """The stream, with one of its render workers killed while it runs."""
    for number, batch in enumerate(dataset):
        if number == 1:
            pool = dataset._source.engine()._pool  # type: ignore[attr-defined]
            os.kill(ray.get(pool.workers[0].handle.pid.remote()), signal.SIGKILL)
        yield batch


def resumed(recipe: Recipe, **settings: Any) -> Iterator[dict[str, Any]]:
    """Two batches of one data set, the rest of another that starts from the first one's state."""
    with stream(recipe, **settings) as before:
        used = list(itertools.islice(before, 3))[:2]
        state = before.state_dict(after=used[-1])
    yield from used
    with stream(recipe, **settings) as after:
        after.load_state_dict(state)
        yield from after


def loaded(dataset: StreamingDataset, workers: int) -> Iterator[dict[str, Any]]:
    """The stream through a DataLoader."""
    context = "spawn" if workers else None
    with dataset:
        yield from DataLoader(dataset, batch_size=None, num_workers=workers, multiprocessing_context=context)


@pytest.mark.usefixtures("own_ray")
def test_every_way_gives_the_same_bytes(recipe: Recipe, tmp_path: pathlib.Path) -> None:
    """Render alone, both engines, 1 and 2 workers, DataLoaders, a killed worker, a resume and both sinks agree."""
    alone = [render(recipe, index, SEED) for index in range(COUNT)]
    assert len({sample.digest() for sample in alone}) == COUNT
    digests = {"render": digest([collate(alone[i : i + BATCH]) for i in range(0, COUNT, BATCH)])}

    with stream(recipe, engine="local") as dataset:
        digests["local"] = digest(dataset)
    for workers in (1, 2):
        with stream(recipe, engine="ray", workers=workers) as dataset:
            digests[f"ray, {workers} workers"] = digest(dataset)
    for engine, workers in (("local", 1), ("ray", 2)):
        for loaders in (0, 2):
            dataset = stream(recipe, engine=engine, workers=workers)
            digests[f"{engine}, {loaders} DataLoader workers"] = digest(loaded(dataset, loaders))
    with stream(recipe, engine="ray", workers=2, lease=2) as dataset:
        digests["a worker killed"] = digest(killing(dataset))
    digests["resumed, local"] = digest(resumed(recipe, engine="local"))
    digests["resumed, ray"] = digest(resumed(recipe, engine="ray", workers=2))

    for form, reader in (("webdataset", ShardDataset), ("zarr", ZarrDataset)):
        folder = tmp_path / form
        export(recipe, format=form, count=COUNT, out=folder, seed=SEED, engine="ray", workers=2, shard_size=7)
        digests[form] = digest(reader(folder, batch_size=BATCH))

    assert set(digests.values()) == {digests["render"]}, digests


def test_another_seed_or_recipe_gives_other_bytes(recipe: Recipe) -> None:
    """The digest of one_stream sees what it should see."""
    sample = render(recipe, 5, SEED)
    assert render(recipe, 5, SEED).digest() == sample.digest()
    other = recipe.replaced('texture.fixed={"gain": 0.9}')
    for pair in (render(recipe, 5, SEED + 1), render(recipe, 6, SEED), render(other, 5, SEED)):
        assert not torch.equal(torch.from_numpy(pair.image), torch.from_numpy(sample.image))
