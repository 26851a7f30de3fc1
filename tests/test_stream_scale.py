"""How many workers there should be, decided by simulation with steps of load; and who keeps them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanostream.errors import StreamError
from nanostream.stream.keeper import Keeper, Report
from nanostream.stream.scale import Measured, Scale, Workers, decide, span

SHARES = st.floats(0, 1)


def run(needs: list[float], *, start: int = 1, least: int = 1, most: int = 16, delay: int = 1) -> list[int]:
    """Workers wanted, period by period, where the load would keep `need` workers busy all the time.

    A worker that was asked for comes `delay` periods later.
    """
    scale, alive, coming, history = Scale(start), start, [], []
    for need in needs:
        coming = [(when - 1, count) for when, count in coming]
        alive = min([count for when, count in coming if when <= 0][-1:] or [alive])
        alive = min(alive, scale.wanted)
        measured = Measured(starved_share=max(0.0, 1 - alive / need), busy_share=min(1.0, need / alive), alive=alive)
        before, scale = scale.wanted, decide(scale, measured, least=least, most=most)
        if scale.wanted != before:
            coming.append((delay, scale.wanted))
        history.append(scale.wanted)
    return history


def test_steps_of_load_are_followed() -> None:
    """After each step of load the pool settles at what the load needs, with at most a third to spare."""
    steps = [3.5, 12.0, 2.0, 7.0]
    history = run([need for need in steps for _ in range(40)])
    for number, need in enumerate(steps):
        settled = set(history[40 * number + 25 : 40 * number + 40])
        assert len(settled) == 1, f"it goes to and fro: {settled}"
        assert need <= settled.pop() <= need * 4 / 3 + 1


def test_growth_is_quick_and_shrinking_slow() -> None:
    """A pool doubles every few periods under need, and gives nothing up before the load was low for five."""
    grown = run([100.0] * 12, most=16)
    assert grown.index(16) < 12
    assert all(after <= 2 * before for before, after in zip([1, *grown], grown, strict=False))
    shrunk = run([1.0] * 8, start=16)
    assert shrunk[:4] == [16] * 4
    assert shrunk[4] == 2


def test_short_changes_move_nothing() -> None:
    """One period of need or of rest between others changes nothing."""
    assert set(run([4.0, 4.0, 9.0, 4.0, 4.0, 0.5, 4.0, 4.0, 4.0], start=5)) == {5}


def test_workers_that_do_not_come_are_not_asked_for_twice() -> None:
    """While hired workers are not there, no more are asked for, whatever the need."""
    scale = Scale(2)
    for _ in range(10):
        scale = decide(scale, Measured(starved_share=0.9, busy_share=1.0, alive=2), least=1, most=64)
        assert scale.wanted <= 4


def test_starved_by_something_else_stays() -> None:
    """A consumer that waits while workers idle waits for something that more workers would not bring."""
    scale = Scale(4)
    for _ in range(20):
        scale = decide(scale, Measured(starved_share=0.5, busy_share=0.2, alive=scale.wanted), least=1, most=64)
    assert scale.wanted <= 4


@given(
    periods=st.lists(st.tuples(SHARES, SHARES, st.integers(0, 20)), max_size=40),
    limits=st.tuples(st.integers(1, 20), st.integers(0, 20)),
)
def test_wanted_stays_between_least_and_most(periods: list[tuple[float, float, int]], limits: tuple[int, int]) -> None:
    """Whatever is measured, the number stays between its limits and at most doubles."""
    least, most = limits[0], sum(limits)
    scale = Scale(least)
    for starved, busy, alive in periods:
        before = scale.wanted
        measured = Measured(starved_share=starved, busy_share=busy, alive=alive)
        scale = decide(scale, measured, least=least, most=most)
        assert least <= scale.wanted <= min(most, 2 * before)


def test_span_of_workers() -> None:
    """A number stands for itself; a pair must rise from 1; what a worker takes is not less than nothing."""
    assert span(3) == (3, 3)
    assert span((2, 5)) == (2, 5)
    assert span(Workers(2, 5, num_gpus=0.25)) == (2, 5)
    for bad in (0, (0, 2), (3, 2)):
        with pytest.raises(StreamError, match="least, most"):
            span(bad)
    with pytest.raises(StreamError, match="num_gpus of at least 0"):
        Workers(2, num_gpus=-1)


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        """The time in seconds."""
        return self.now


def report(wait: float, render: float, ready: int, using: tuple[str, ...] = ()) -> Report:
    return Report(seconds=1.0, wait_seconds=wait, render_seconds=render, ready=ready, using=using)


def test_keeper_hires_and_ends_by_need() -> None:
    """A starved consumer gets workers; those that idle leave the roster, and end when nobody waits for them."""
    clock, ended = Clock(), []
    keeper = Keeper(least=1, most=4, hire=lambda number: f"w{number}", end=ended.append, clock=clock)
    names = keeper.join("a")
    assert names.workers == ("w0",)
    for _ in range(20):
        clock.now += 2.0
        names = keeper.report("a", report(0.6, float(len(names.workers)), len(names.workers)))
    assert names.workers == ("w0", "w1", "w2", "w3")
    for _ in range(6):
        clock.now += 2.0
        names = keeper.report("a", report(0.0, 0.5, len(names.workers), using=("w3",)))
    assert names.workers == ("w0",)
    assert sorted(ended) == ["w1", "w2"]
    keeper.report("a", report(0.0, 0.5, 1))
    assert sorted(ended) == ["w1", "w2", "w3"]


def test_keeper_counts_its_consumers() -> None:
    """Consumers that leave or fall silent are counted no more."""
    clock = Clock()
    keeper = Keeper(least=2, most=2, hire=str, end=str, clock=clock)
    keeper.join("a")
    assert keeper.join("b").consumers == 2
    assert keeper.leave("a") == 1
    clock.now += 30.0
    assert keeper.expire() == 1
    keeper.report("b", report(0.9, 2.0, 2))
    clock.now += 60.0
    assert keeper.expire() == 0
