"""StreamingDataset with the Ray engine and a DataLoader's workers, on a Ray of the tests' own."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import ray
import torch
from torch.utils.data import DataLoader

from nanostream.dataset import StreamingDataset
from nanostream.errors import ForkError
from nanostream.testing import FakeRecipe, assert_each_once, assert_in_order

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("own_ray"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]
FAKE = "nanostream.testing:FakeSynth"


def stream(**settings: Any) -> StreamingDataset:
    return StreamingDataset(FakeRecipe(), **{"synth": FAKE, "batch_size": 4, "engine": "ray", "workers": 2, **settings})


def first(batches: Any, count: int) -> list[dict[str, Any]]:
    return list(itertools.islice(batches, count))


def test_order_place_and_pixels_are_those_of_the_local_engine() -> None:
    """Both engines give the same batches and the same states, from 1 and 2 workers."""
    with stream(engine="local", workers=1) as local:
        want, state = first(local, 4), local.state_dict()
    for workers in (1, 2):
        with stream(workers=workers) as dataset:
            got = first(dataset, 4)
            assert dataset.state_dict() == state
            assert dataset.state_dict(after=got[1])["next_index"] == 8
            assert_in_order(first(dataset, 2), start=16)
        for one, other in zip(want, got, strict=True):
            assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_spawned_workers_share_the_render_workers(context: str) -> None:
    """Spawned DataLoader workers join the parent's render workers; order and places stay exact."""
    with stream() as dataset:
        loader = DataLoader(
            dataset, batch_size=None, num_workers=2, multiprocessing_context=context, persistent_workers=True
        )
        batches = first(loader, 5)
        assert_in_order(batches)
        state = dataset.state_dict(after=batches[2])
        assert (state["next_index"], state["backend"]) == (12, "fake")
        dataset.load_state_dict(state)
        assert_in_order(first(loader, 3), start=12)
        assert len(ray.util.list_named_actors(all_namespaces=True)) == 2
        del loader
    with stream(batch_size=3, rank=1, world_size=2, workers=1) as other:
        other.load_state_dict(state)
        assert first(other, 1)[0]["index"].tolist() == [15, 16, 17]


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_forked_worker_says_what_to_do() -> None:
    """A DataLoader worker forked from a process that holds Ray raises ForkError with both ways out."""
    with stream() as dataset:
        loader = DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="fork")
        with pytest.raises(ForkError, match=r"multiprocessing_context='spawn'.*num_workers=0"):
            next(iter(loader))


def test_two_datasets_share_one_ray() -> None:
    """Closing one dataset leaves the other's workers and Ray alone."""
    training, validation = stream(workers=1), stream(workers=1, length=6, seed=1)
    with training:
        with validation:
            assert_each_once(list(validation), indices=range(6))
            assert_in_order(first(training, 2))
        assert_in_order(first(training, 2), start=8)
    assert ray.is_initialized()
