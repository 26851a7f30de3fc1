"""Leases in flight over simulated workers: losses, silence, failures and bounds, on a clock that jumps."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanostream.errors import RenderError, StreamError
from nanostream.stream.flight import Flight
from nanostream.stream.lease import Patience
from nanostream.telemetry import StreamCounters
from nanostream.testing import FakeRecipe, FakeSynth, SimulatedPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nanostream.sample import Sample

RECIPE = FakeRecipe()


def renderer(**settings: Any) -> Callable[[int, int], Sample]:
    synth = FakeSynth(RECIPE, **settings)
    return lambda seed, index: synth.render(seed=seed, index=index)


def flight(pool: SimulatedPool, leases: Any = None, **settings: Any) -> Flight:
    leases = leases or (range(start, start + 4) for start in itertools.count(0, 4))
    options = {"seed": 0, "counters": StreamCounters(), "clock": pool.clock, **settings}
    return Flight(pool, leases, recipe=RECIPE, **options)


def indices(samples: Iterator[Sample], count: int) -> list[int]:
    return [sample.index for sample in itertools.islice(samples, count)]


def test_frozen_workers_lease_comes_from_another() -> None:
    """A frozen worker's leases come from another one within the hedging time and one lease, each index once."""
    pool, counters = SimulatedPool(2, render=renderer(), seconds=0.01), StreamCounters()
    samples = flight(pool, counters=counters).samples()
    got = indices(samples, 20)
    pool.freeze(0)
    gap, before = 0.0, pool.now
    for sample in itertools.islice(samples, 100):
        gap, before = max(gap, pool.now - before), pool.now
        got.append(sample.index)
    assert got == list(range(120))
    # Half a second of patience, one look every 0.1 s, one lease of 4 samples.
    assert 0.5 < gap < 0.5 + 0.1 + 0.04 + 1e-6
    assert counters.stats().leases_hedged > 0
    assert pool.workers[0].suspect


def test_worker_that_wakes_up_is_asked_again() -> None:
    """What a worker answers after it was given up is dropped, and it is asked again."""
    pool = SimulatedPool(2, render=renderer(), seconds=0.01)
    samples = flight(pool).samples()
    got = indices(samples, 20)
    pool.freeze(0)
    got += indices(samples, 40)
    pool.thaw(0)
    got += indices(samples, 40)
    assert got == list(range(100))
    assert not pool.workers[0].suspect
    assert pool.workers[0].asked > 0


def test_lone_worker_is_given_time() -> None:
    """With one worker nobody else can be asked: it is waited for, until timeout_seconds."""
    pool = SimulatedPool(1, render=renderer(), seconds=0.01)
    samples = flight(pool, timeout_seconds=5.0).samples()
    assert indices(samples, 8) == list(range(8))
    pool.freeze(0)
    with pytest.raises(StreamError, match="within 5 s"):
        list(itertools.islice(samples, 50))


def test_slow_leases_are_not_silence() -> None:
    """Leases that take long are not asked of a second worker while they come as slowly as before."""
    pool, counters = SimulatedPool(3, render=renderer(), seconds=5.0), StreamCounters()
    assert indices(flight(pool, counters=counters).samples(), 200) == list(range(200))
    assert counters.stats().leases_hedged == 0


def test_consumer_that_pauses_suspects_nobody() -> None:
    """What came while the consumer was busy is read before anybody is taken for silent."""
    pool, counters = SimulatedPool(2, render=renderer(), seconds=0.01), StreamCounters()
    samples = flight(pool, counters=counters).samples()
    for _ in range(30):
        next(samples)
        pool.now += 60.0
    assert counters.stats().leases_hedged == 0


@settings(max_examples=40)
@given(
    workers=st.integers(2, 5),
    size=st.integers(1, 9),
    events=st.lists(st.tuples(st.integers(0, 60), st.sampled_from(["kill", "freeze"]), st.integers(0, 4)), max_size=6),
)
def test_any_losses_leave_the_sequence_whole(workers: int, size: int, events: list[tuple[int, str, int]]) -> None:
    """Whatever is killed or frozen, but for all at once, the indices come in order, each once."""
    pool = SimulatedPool(workers, render=renderer(), seconds=0.01)
    samples = flight(pool, (range(start, start + size) for start in itertools.count(0, size))).samples()
    got = []
    for number in range(80):
        for _, what, worker in [event for event in events if event[0] == number]:
            if what == "kill":
                pool.kill(worker % workers)
            elif len(pool._frozen | {worker % workers}) < workers:
                pool.freeze(worker % workers)
        got += indices(samples, 1)
    assert got == list(range(80))


def test_index_that_fails_beside_a_frozen_worker_raises_in_its_turn() -> None:
    """An index that fails on two workers raises, while a third one's silence is made up for."""
    pool = SimulatedPool(3, render=renderer(broken={30}), seconds=0.01)
    samples = flight(pool, seed=4).samples()
    got = indices(samples, 6)
    pool.freeze(1)
    with pytest.raises(RenderError, match=r"sample 30 of recipe 'fake'.*seed 4.*broken on purpose"):
        got.extend(sample.index for sample in samples)
    assert got == list(range(30))


def test_index_that_fails_once_comes() -> None:
    """An index that fails on one worker alone comes from another."""
    failed = []
    render = renderer()

    def once(seed: int, index: int) -> Sample:
        if index == 9 and not failed:
            failed.append(index)
            msg = "once"
            raise ValueError(msg)
        return render(seed, index)

    pool = SimulatedPool(2, render=once)
    assert indices(flight(pool).samples(), 40) == list(range(40))
    assert failed == [9]


def test_bytes_in_flight_are_bounded() -> None:
    """However many workers there are, samples asked for and not handed on stay under the bound, but for two leases."""
    pool, counters = SimulatedPool(16, render=renderer(height=100, width=100)), StreamCounters()
    sample_bytes = 30_000
    samples = flight(pool, counters=counters, most_bytes=20 * sample_bytes, ahead=500).samples()
    assert indices(samples, 400) == list(range(400))
    # One lease a worker is asked for before the first sample tells its size.
    assert counters.stats().peak_bytes_in_flight <= 16 * 4 * sample_bytes
    assert samples.gi_frame.f_locals["self"]._held <= 20 + 4


def test_patience_follows_the_slowest_of_late() -> None:
    """Patience is a multiple of the slowest lease of late, forgets it, and has a least."""
    patience = Patience(least_seconds=0.5, factor=4.0)
    assert patience.seconds(4) is None
    patience.saw(4, 4.0)
    assert patience.seconds(4) == pytest.approx(16.0)
    assert patience.seconds(2, consumers=3) == pytest.approx(24.0)
    for _ in range(200):
        patience.saw(4, 0.04)
    assert patience.seconds(4) == 0.5


@pytest.mark.parametrize("workers", [1, 8, 64])
def test_simulated_workers_are_kept_busy(workers: int) -> None:
    """From 1 to 64 workers that only wait, more than 95 % of their time is used."""
    sample = renderer()(0, 0)
    blank = type(sample)

    def render(seed: int, index: int) -> Sample:
        return blank(seed=seed, index=index, image=sample.image, mask=sample.mask, meta={})

    pool, count = SimulatedPool(workers, render=render, seconds=0.1), 200 * workers
    began = time.perf_counter()
    leases = [range(start, start + 4) for start in range(0, count, 4)]
    assert sum(1 for _ in flight(pool, leases).samples()) == count
    assert time.perf_counter() - began < 60
    assert count * 0.1 / workers / pool.now > 0.95
