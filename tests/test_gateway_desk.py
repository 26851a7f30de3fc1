"""Who gets room and whose lease is next: the gate and the desk alone, without HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue
from typing import TYPE_CHECKING, Any

import pytest

from nanostream.errors import RenderError, StreamError
from nanostream.gateway.desk import Desk
from nanostream.gateway.gate import BusyError, Gate
from nanostream.gateway.here import Here
from nanostream.gateway.job import Job
from nanostream.gateway.order import Offer, Order, OrderSynth
from nanostream.telemetry import StreamCounters
from nanostream.testing import FakeRecipe, FakeSynth

if TYPE_CHECKING:
    from collections.abc import Iterator

RECIPE = FakeRecipe()


@contextlib.contextmanager
def desk(**settings: Any) -> Iterator[Desk]:
    synth: Any = functools.partial(OrderSynth, synth=functools.partial(FakeSynth, **settings))
    with contextlib.closing(Desk(Here(RECIPE, synth), StreamCounters())) as desk:
        yield desk


def job(indices: list[range], *, ahead: int = 1000, recipe: Any = RECIPE) -> tuple[Job, queue.SimpleQueue[Any]]:
    items: queue.SimpleQueue[Any] = queue.SimpleQueue()
    return Job(Order(Offer.of("fake", recipe), 0, "zarr"), indices, ahead=ahead, deliver=items.put), items


def delivered(items: queue.SimpleQueue[Any]) -> list[int]:
    """Indices up to the end; raises the error that ended it."""
    got: list[int] = []
    while (item := items.get(timeout=30)) is not None:
        if isinstance(item, Exception):
            raise item
        got += [one.index for one in item]
    return got


def test_each_job_comes_in_its_own_order() -> None:
    """Jobs of other ranges, steps and recipes at once each get all their samples in order."""
    with desk() as one:
        plans = [[range(100)], [range(0, 90, 7), range(5)], [range(3, 4)], [], [range(1000, 1100)]]
        jobs = [job(plan, recipe=FakeRecipe(height=8 + number)) for number, plan in enumerate(plans)]
        for each, _ in jobs:
            one.submit(each)
        for plan, (_, items) in zip(plans, jobs, strict=True):
            assert delivered(items) == [index for part in plan for index in part]


def test_short_job_does_not_wait_for_a_long_one() -> None:
    """One sample is delivered while a job of a thousand is under way."""
    with desk(seconds=0.01) as one:
        long, items = job([range(1000)])
        one.submit(long)
        items.get(timeout=30)
        short, few = job([range(5, 6)])
        one.submit(short)
        assert delivered(few) == [5]
        assert one.counters.stats().samples_rendered < 200
        one.cancel(long)


def test_job_is_rendered_only_so_far_ahead() -> None:
    """No more than `ahead` samples are rendered beyond those that were consumed."""
    with desk() as one:
        each, items = job([range(1000)], ahead=10)
        one.submit(each)
        got = 0
        while got < 10:
            got += len(items.get(timeout=30))
        with pytest.raises(queue.Empty):
            items.get(timeout=0.5)
        one.consumed(each, 4)
        while got < 14:
            got += len(items.get(timeout=30))
        with pytest.raises(queue.Empty):
            items.get(timeout=0.5)
        assert got == 14
        one.cancel(each)


def test_broken_sample_ends_its_own_job_alone() -> None:
    """A job ends at the index that cannot be rendered, with all samples before it; others go on."""
    with desk(broken={6}) as one:
        bad, items = job([range(20)])
        good, others = job([range(10, 40)])
        one.submit(bad)
        one.submit(good)
        got: list[int] = []
        while not isinstance(item := items.get(timeout=30), Exception):
            got += [sample.index for sample in item]
        assert got == list(range(6))
        assert isinstance(item, RenderError)
        assert "sample 6 of recipe 'fake'" in str(item)
        assert delivered(others) == list(range(10, 40))


def test_renderer_that_cannot_start_is_told_to_every_job() -> None:
    """Where no renderer can be built its own words end each job, and the desk goes on trying."""
    with desk(nonsense=1) as one:
        for _ in range(2):
            each, items = job([range(3)])
            one.submit(each)
            with pytest.raises(StreamError, match="nonsense"):
                delivered(items)
        assert one.build is None


def test_jobs_end_with_the_desk() -> None:
    """A job that is under way when the desk closes ends with StreamError."""
    with desk(seconds=0.05) as one:
        each, items = job([range(1000)])
        one.submit(each)
        items.get(timeout=30)
    with pytest.raises(StreamError, match="ends"):
        delivered(items)


def test_gate_keeps_its_bounds() -> None:
    """Never more inside than rooms, nor than per_client of one client; everybody who waited gets in."""

    async def run() -> list[int]:
        gate = Gate(rooms=5, per_client=2, queue=100, wait_seconds=30)
        inside: dict[str, int] = {}
        most: list[int] = []

        async def visit(client: str) -> None:
            async with gate.enter(client):
                inside[client] = inside.get(client, 0) + 1
                most.append(sum(inside.values()))
                assert inside[client] <= 2
                await asyncio.sleep(0.001)
                inside[client] -= 1

        await asyncio.gather(*(visit(f"client {number % 4}") for number in range(60)))
        assert gate.inside == gate.waiting == 0
        return most

    most = asyncio.run(run())
    assert len(most) == 60
    assert max(most) == 5


def test_gate_lets_the_one_with_least_in_first() -> None:
    """A client that comes late and has nothing inside goes before one that has."""

    async def run() -> list[str]:
        gate = Gate(rooms=2, per_client=2, queue=100, wait_seconds=30)
        order: list[str] = []
        hold = asyncio.Event()

        async def visit(client: str, *, first: bool = False) -> None:
            async with gate.enter(client):
                order.append(client)
                if first:
                    await hold.wait()

        tasks = [asyncio.ensure_future(visit("greedy", first=True)) for _ in range(2)]
        await asyncio.sleep(0)
        tasks += [asyncio.ensure_future(visit("greedy")) for _ in range(3)]
        await asyncio.sleep(0)
        tasks.append(asyncio.ensure_future(visit("modest")))
        await asyncio.sleep(0)
        hold.set()
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(run())[2] == "modest"


def test_gate_forgets_who_gave_up() -> None:
    """Full queues, waits that are too long and clients that go away leave the gate as it was."""

    async def run() -> None:
        gate = Gate(rooms=1, per_client=1, queue=2, wait_seconds=0.05)
        async with gate.enter("one"):
            waiting = [asyncio.ensure_future(gate._come("other")) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(BusyError, match="wait already"):
                await gate._come("third")
            waiting[0].cancel()
            for found in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(found, asyncio.CancelledError | BusyError)
            assert (gate.inside, gate.waiting) == (1, 0)
        async with gate.enter("other"):
            assert gate.inside == 1
        assert gate.inside == 0

    asyncio.run(run())


def test_gate_survives_waits_that_end_as_room_comes() -> None:
    """Clients that give up in the very moment in which room comes lose no room, and break nothing."""

    async def run() -> None:
        gate = Gate(rooms=2, per_client=2, queue=1000, wait_seconds=0.003)

        async def visit(number: int) -> None:
            await asyncio.sleep(0.0003 * (number % 17))
            with contextlib.suppress(BusyError):
                async with gate.enter("one"):
                    await asyncio.sleep(0.0009)

        tasks = [asyncio.ensure_future(visit(number)) for number in range(500)]
        for task in tasks[::7]:
            await asyncio.sleep(0)
            task.cancel()
        for found in await asyncio.gather(*tasks, return_exceptions=True):
            assert found is None or isinstance(found, asyncio.CancelledError)
        assert (gate.inside, gate.waiting) == (0, 0)

    for _ in range(5):
        asyncio.run(run())
