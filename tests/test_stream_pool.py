"""Pools that a keeper keeps: shared by name, grown by need, on a Ray of the tests' own."""

from __future__ import annotations

import functools
import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest
import ray
from torch.utils.data import DataLoader

from nanostream.dataset import StreamingDataset
from nanostream.errors import StreamError
from nanostream.stream.ray import RayEngine
from nanostream.testing import FakeRecipe, FakeSynth, assert_in_order

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("own_ray"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]
RECIPE = FakeRecipe()
FAKE = "nanostream.testing:FakeSynth"


def in_order(size: int = 4) -> Iterator[range]:
    return (range(start, start + size) for start in itertools.count(0, size))


def actors() -> list[str]:
    return sorted(entry["name"] for entry in ray.util.list_named_actors(all_namespaces=True))


def wait_for(condition: Any, seconds: float = 15.0) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.1)
    return bool(condition())


def test_named_pool_outlives_one_consumer_and_ends_with_the_last() -> None:
    """Two engines of one name share workers; the first may go; with the last one they all end."""
    one = RayEngine(RECIPE, workers=2, pool="lab", synth=FAKE)
    two = RayEngine(RECIPE, seed=3, workers=2, pool="lab", synth=FAKE)
    assert sorted(one.pids()) == sorted(two.pids())
    assert len(actors()) == 3
    first, second = one.samples(in_order()), two.samples(in_order())
    assert [next(first).index for _ in range(30)] == list(range(30))
    assert [next(second).index for _ in range(30)] == list(range(30))
    one.close()
    assert [next(second).index for _ in range(30)] == list(range(30, 60))
    assert next(second).seed == 3
    two.close()
    assert wait_for(lambda: not actors())
    # The name is free again.
    with RayEngine(RECIPE, pool="lab", synth=FAKE) as three:
        assert three.sample(5).index == 5
    assert wait_for(lambda: not actors())


def test_named_pool_of_another_recipe_is_refused() -> None:
    """A pool renders one recipe: who names it for another one gets StreamError, and disturbs nobody."""
    with RayEngine(RECIPE, pool="mine", synth=FAKE) as engine:
        with pytest.raises(StreamError, match=r"pool 'pool-mine' to render recipe"):
            RayEngine(FakeRecipe(height=9), pool="mine", synth=FAKE)
        assert engine.sample(1).index == 1
    assert wait_for(lambda: not actors())


def test_pool_grows_for_a_consumer_that_waits() -> None:
    """workers=(1, 3): a consumer that waits all the time gets more workers, and the order stays."""
    synth = functools.partial(FakeSynth, seconds=0.02)
    with RayEngine(RECIPE, workers=(1, 3), synth=synth) as engine:
        assert engine.workers == 1
        samples = engine.samples(in_order())
        until = time.monotonic() + 30
        count = 0
        while engine.workers < 3 and time.monotonic() < until:
            assert next(samples).index == count
            count += 1
        assert engine.workers == 3
        assert [next(samples).index for _ in range(100)] == list(range(count, count + 100))
        samples.close()
    assert wait_for(lambda: not actors())


def test_data_loader_workers_join_a_kept_pool() -> None:
    """A spawned DataLoader worker joins the keeper of an elastic pool, and counts as its consumer."""
    with StreamingDataset(RECIPE, batch_size=4, workers=(1, 2), synth=FAKE) as dataset:
        loader = DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="spawn")
        assert_in_order(list(itertools.islice(loader, 5)))
        del loader
    assert wait_for(lambda: not actors())
