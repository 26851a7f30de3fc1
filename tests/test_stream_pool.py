"""Pools that a keeper keeps: shared by name, grown by need, on a Ray of the tests' own."""

from __future__ import annotations

import functools
import itertools
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import ray
from torch.utils.data import DataLoader

from nanostream.dataset import StreamingDataset
from nanostream.errors import StreamError
from nanostream.stream.ray import RayEngine
from nanostream.telemetry import metrics
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
        assert metrics().registry.get_sample_value("nanostream_workers_wanted") == 3
        assert [next(samples).index for _ in range(100)] == list(range(count, count + 100))
        samples.close()
    assert wait_for(lambda: not actors())


JOIN = """
import sys
from nanostream.stream.ray import RayEngine
from nanostream.testing import FakeRecipe

engine = RayEngine(FakeRecipe(), address=sys.argv[1], pool="left", synth="nanostream.testing:FakeSynth")
print(engine.sample(3).index, flush=True)
sys.stdin.read()
"""


def test_pool_of_a_killed_consumer_ends() -> None:
    """A named pool whose last consumer was killed, so that it said no goodbye, ends within 90 s."""
    address = ray.get_runtime_context().gcs_address
    with subprocess.Popen(
        [sys.executable, "-c", JOIN, address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "RAY_AUTH_MODE": "token"},
    ) as consumer:
        assert consumer.stdout is not None
        assert consumer.stdout.readline() == b"3\n"
        assert len(actors()) == 2
        consumer.kill()
    assert wait_for(lambda: not actors(), seconds=90)


def test_lost_keeper_comes_back() -> None:
    """A keeper that is killed takes its workers along, comes back and hires anew; nothing is lost or comes twice."""
    with RayEngine(RECIPE, workers=(1, 2), synth=functools.partial(FakeSynth, seconds=0.01)) as engine:
        samples = engine.samples(in_order())
        got = [next(samples).index for _ in range(20)]
        born = set(engine.pids())
        (name,) = [name for name in actors() if name.startswith("pool-")]
        keeper = ray.get_actor(name, namespace="nanostream")
        os.kill(ray.get(keeper.__ray_call__.remote(lambda _: os.getpid())), signal.SIGKILL)
        got += [next(samples).index for _ in range(200)]
        assert got == list(range(220))
        assert not born & set(engine.pids())
        samples.close()
    assert wait_for(lambda: not actors())


def test_data_loader_workers_join_a_kept_pool() -> None:
    """A spawned DataLoader worker joins the keeper of an elastic pool, and counts as its consumer."""
    with StreamingDataset(RECIPE, batch_size=4, workers=(1, 2), synth=FAKE) as dataset:
        loader = DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="spawn")
        assert_in_order(list(itertools.islice(loader, 5)))
        del loader
    assert wait_for(lambda: not actors())
