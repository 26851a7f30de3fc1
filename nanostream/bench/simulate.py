"""Many nodes on a clock that jumps: the stream's own plan, leases and flights over workers that only wait.

Each rank of a training has the workers of its own nodes, as a pool of its own; what asks, hedges, asks
again and puts in order is `stream.plan` and `stream.flight` as they run on a cluster. The ranks take
their batches in step, as DistributedDataParallel does: the slowest of a step is waited for.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import time
from typing import TYPE_CHECKING

from nanostream.bench.simulate_nodes import Nodes, Scenario
from nanostream.stream.flight import Flight
from nanostream.stream.plan import Share, leases, steps
from nanostream.telemetry import StreamCounters
from nanostream.testing import FakeRecipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanostream.sample import Sample

__all__ = ["Outcome", "simulate", "table"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a scenario."""

    scenario: Scenario
    """What was simulated."""

    samples: int
    """Samples that all ranks took."""

    seconds: float
    """Simulated time that passed."""

    efficiency: float
    """Samples taken over what the workers that were there could have rendered, each at its own pace; 0 to 1."""

    longest_wait_seconds: float
    """Longest step of the training."""

    nodes_lost: int
    """Nodes that fell silent."""

    leases_again: int
    """Leases asked for again."""

    leases_hedged: int
    """Leases asked of a second worker while the first was silent."""

    planner_seconds: float
    """Processor time of the plan and the flights a sample, on this machine; no part of the simulated time."""


def simulate(scenario: Scenario) -> Outcome:
    """What the ranks of a training receive together in `scenario.seconds`."""
    chance = random.Random(scenario.seed)  # noqa: S311 - decides what is lost, not a secret
    began = time.process_time()
    bounds = [scenario.nodes * rank // scenario.ranks for rank in range(scenario.ranks + 1)]
    pools = [Nodes(scenario, range(*pair), chance) for pair in itertools.pairwise(bounds)]
    counters = StreamCounters()
    streams = [_stream(scenario, pool, rank, counters) for rank, pool in enumerate(pools)]
    every = scenario.loss_every_seconds
    loss_at = float("inf") if every is None else every / 2
    now, longest, count, lost = 0.0, 0.0, 0, 0
    while now < scenario.seconds:
        if now >= loss_at:
            assert every is not None
            loss_at += every
            lost += 1
            rank = chance.randrange(len(pools))
            pools[rank].lose(chance.randrange(bounds[rank + 1] - bounds[rank]))
        for stream in streams:
            count += sum(1 for _ in itertools.islice(stream, scenario.batch_size))
        before, now = now, max(pool.now for pool in pools)
        longest = max(longest, now - before)
        for pool in pools:
            pool.now = now
    spent = time.process_time() - began
    stats = counters.stats()
    return Outcome(
        scenario=scenario,
        samples=count,
        seconds=now,
        efficiency=count / sum(pool.room(now) for pool in pools),
        longest_wait_seconds=longest,
        nodes_lost=lost,
        leases_again=stats.leases_again,
        leases_hedged=stats.leases_hedged,
        planner_seconds=spent / count,
    )


def table(rows: list[tuple[Outcome, Outcome, Outcome]]) -> str:
    """Markdown: a row for each three outcomes of as many nodes: nothing lost, nodes lost, and stragglers too."""
    heads = "nodes|workers|ranks|nothing lost|a node lost every minute|and stragglers|longest step|asked again|hedged"
    columns = [*heads.split("|"), "planner a sample"]
    lines = [f"| {' | '.join(columns)} |", "|" + "--:|" * len(columns)]
    for quiet, losses, hard in rows:
        scenario = hard.scenario
        lines.append(
            f"| {scenario.nodes:,} | {scenario.nodes * scenario.workers_per_node:,} | {scenario.ranks} "
            f"| {quiet.efficiency:.1%} | {losses.efficiency:.1%} | {hard.efficiency:.1%} "
            f"| {hard.longest_wait_seconds:.1f} s | {hard.leases_again:,} | {hard.leases_hedged:,} "
            f"| {1e6 * hard.planner_seconds:.0f} µs |"
        )
    return "\n".join(lines)


def _stream(scenario: Scenario, pool: Nodes, rank: int, counters: StreamCounters) -> Iterator[Sample]:
    share = Share(batch_size=scenario.batch_size, rank=rank, world_size=scenario.ranks)
    plan = leases(steps(share, base=0), size=scenario.lease)
    flight = Flight(
        pool,
        plan,
        recipe=FakeRecipe(),
        seed=scenario.seed,
        counters=counters,
        ahead=2 * scenario.batch_size,
        most_bytes=scenario.in_flight_bytes,
        clock=pool.clock,
    )
    return flight.samples()
