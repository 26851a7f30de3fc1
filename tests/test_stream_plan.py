"""Order, shares and places: the global sequence is 0, 1, 2, ... whatever shares it and wherever it is cut."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanostream.errors import SampleIndexError, StateError, StreamError
from nanostream.stream.plan import Place, Share, count_steps, leases, steps

small = st.integers(1, 5)
worlds = st.tuples(small, small, small)  # batch size, ranks, DataLoader workers


def loader_order(batch_size: int, rank: int, world_size: int, workers: int, **cut: Any) -> list[Any]:
    """One rank's steps as a loader with these workers gives them: in turn, while anybody has one."""
    plans = [
        steps(Share(batch_size=batch_size, rank=rank, world_size=world_size, worker=w, workers=workers), **cut)
        for w in range(workers)
    ]
    return [step for row in itertools.zip_longest(*plans) for step in row if step is not None]


@given(cuts=st.lists(st.tuples(worlds, st.integers(1, 7)), min_size=1, max_size=5), base=st.integers(0, 2**50))
def test_sequence_is_whole_over_any_cuts(cuts: list[tuple[tuple[int, int, int], int]], base: int) -> None:
    """After any place any world, batch size and number of workers may follow, and nothing is lost or twice."""
    got, place = [], base
    for (batch_size, world_size, workers), count in cuts:
        ranks = []
        for rank in range(world_size):
            turns = [
                steps(
                    Share(batch_size=batch_size, rank=rank, world_size=world_size, worker=w, workers=workers),
                    base=place,
                )
                for w in range(workers)
            ]
            ranks.append([next(turns[t % workers]) for t in range(count)])
        for of_ranks in zip(*ranks, strict=True):
            assert len({step.next_index for step in of_ranks}) == 1
            got += [index for step in of_ranks for index in step.indices]
        place = ranks[0][-1].next_index
    assert got == list(range(base, place))


@given(world=worlds, base=st.integers(0, 40), count=st.integers(1, 60))
def test_finite_stream_is_whole_and_even(world: tuple[int, int, int], base: int, count: int) -> None:
    """A finite stream gives each index once and every rank the same number of steps."""
    batch_size, world_size, workers = world
    end = base + count
    share = Share(batch_size=batch_size, world_size=world_size)
    if count < world_size:
        with pytest.raises(StreamError, match="at least one sample for each"):
            count_steps(share, base=base, end=end)
        return
    ranks = [loader_order(batch_size, r, world_size, workers, base=base, end=end) for r in range(world_size)]
    assert {len(rank) for rank in ranks} == {count_steps(share, base=base, end=end)}
    got = [index for of_ranks in zip(*ranks, strict=True) for step in of_ranks for index in step.indices]
    assert got == list(range(base, end))
    assert ranks[0][-1].next_index == end
    assert all(len(step.indices) for rank in ranks for step in rank)


@given(world=worlds, data=st.data(), size=st.integers(1, 20), end=st.integers(6, 90))
def test_leases_keep_the_order(world: tuple[int, int, int], data: st.DataObject, size: int, end: int) -> None:
    """Leases hold the steps' indices in the same order, at most `size` each."""
    batch_size, world_size, workers = world
    share = Share(
        batch_size=batch_size,
        rank=data.draw(st.integers(0, world_size - 1)),
        world_size=world_size,
        worker=data.draw(st.integers(0, workers - 1)),
        workers=workers,
    )
    want = [index for step in steps(share, base=0, end=end) for index in step.indices]
    got = list(leases(steps(share, base=0, end=end), size=size))
    assert list(itertools.chain.from_iterable(got)) == want
    assert all(1 <= len(lease) <= size for lease in got)


def test_leases_of_a_lone_consumer_are_full() -> None:
    """Small batches that lie beside each other share a lease."""
    plan = steps(Share(batch_size=2), base=3)
    assert list(itertools.islice(leases(plan, size=8), 2)) == [range(3, 11), range(11, 19)]


def test_formula() -> None:
    """Step t of rank r begins at base + t * W * B + r * B."""
    share = Share(batch_size=4, rank=2, world_size=3, worker=1, workers=2)
    first, second = itertools.islice(steps(share, base=100), 2)
    assert (first.indices, first.next_index) == (range(120, 124), 124)
    assert (second.indices, second.next_index) == (range(144, 148), 148)


def test_bad_shares_are_refused() -> None:
    """A rank beyond the world, a worker beyond the workers and an empty batch raise StreamError."""
    for bad in ({"rank": 2, "world_size": 2}, {"worker": -1}, {"batch_size": 0}):
        with pytest.raises(StreamError, match="expected"):
            Share(**bad)


hashes = st.text("0123456789abcdef", min_size=8, max_size=64)


@given(hashes, st.none() | hashes, st.integers(0, 2**53), st.integers(0, 2**53))
def test_state_survives_json(recipe: str, build: str | None, seed: int, next_index: int) -> None:
    """A place comes back from its state through JSON."""
    place = Place(recipe=recipe, build=build, backend="llvm_ad_mono", seed=seed, next_index=next_index)
    assert Place.parse(json.loads(json.dumps(place.state()))) == place


GOOD = Place(recipe="r", build=None, backend=None, seed=1, next_index=5).state()


@pytest.mark.parametrize(
    "bad",
    [
        None,
        {},
        {**GOOD, "extra": 1},
        {**GOOD, "version": 2},
        {**GOOD, "next_index": -1},
        {**GOOD, "next_index": "5"},
        {**GOOD, "seed": True},
        {**GOOD, "recipe": 3},
        {**GOOD, "build": 3},
    ],
)
def test_what_is_no_state_is_refused(bad: Any) -> None:
    """Anything but what state_dict() returned raises StateError."""
    with pytest.raises(StateError, match="state"):
        Place.parse(bad)


def test_foreign_places_are_refused() -> None:
    """A place of another recipe, of another seed or behind the stream's end raises StateError."""
    place = Place.parse(GOOD)
    place.check_stream(recipe="r", seed=1, end=5)
    for other in ({"recipe": "x"}, {"seed": 2}, {"end": 4}):
        with pytest.raises(StateError, match="expected"):
            place.check_stream(**{"recipe": "r", "seed": 1, "end": None, **other})


def test_index_beyond_the_last_is_an_error() -> None:
    """Indices beyond 2^53 are refused where a sample is made of them."""
    from nanostream.testing import FakeRecipe, FakeSynth

    with pytest.raises(SampleIndexError, match="2\\^53"):
        FakeSynth(FakeRecipe()).render(seed=0, index=2**53 + 1)


def test_plan_needs_no_torch_and_no_ray() -> None:
    """Plan, telemetry and engine contract import neither torch nor Ray."""
    code = (
        "import sys, nanostream.stream.plan, nanostream.stream.engine, nanostream.stream.local, nanostream.testing; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'ray', 'mitsuba', 'prometheus_client')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
