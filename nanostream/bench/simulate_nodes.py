"""Simulated nodes of render workers, on a clock that jumps: what a `Flight` needs of a pool."""

from __future__ import annotations

import dataclasses
import heapq
from typing import TYPE_CHECKING

import numpy as np

from nanostream.sample import Sample
from nanostream.stream.actor import Failure, Reply
from nanostream.stream.worker import Lost, Worker

if TYPE_CHECKING:
    import random
    from collections.abc import Collection

__all__ = ["Nodes", "Scenario"]

# Every sample shares these, so that they cost no memory here and still weigh what real ones do.
_IMAGE, _MASK = np.zeros((256, 256), np.uint8), np.zeros((256, 256), np.uint16)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is simulated; times in seconds."""

    nodes: int
    """Nodes in all; each rank has an equal share of them, at most `nodes_per_rank`."""

    workers_per_node: int = 2
    """Render workers on each node."""

    nodes_per_rank: int = 50
    """Nodes that feed one rank of the training."""

    seconds: float = 120.0
    """Time to simulate."""

    sample_seconds: float = 0.05
    """Time that a worker takes for a sample."""

    lease: int = 8
    """Samples that a worker is asked for at a time."""

    batch_size: int = 64
    """Samples that a rank takes in one step."""

    in_flight_bytes: int = 512 << 20
    """Samples asked for and not yet taken, of one rank; as the Ray engine has it."""

    loss_every_seconds: float | None = 60.0
    """A node falls silent this often, the first after half as long; None: never."""

    noticed_seconds: float = 15.0
    """Until Ray says that a silent node is gone."""

    replaced_seconds: float = 120.0
    """From a node's loss until another one renders in its place."""

    slow_nodes: float = 0.02
    """Share of the nodes that take `slow_factor` times as long for everything."""

    slow_factor: float = 2.0
    """How much longer slow nodes take."""

    slow_leases: float = 0.001
    """Share of the leases that take `slow_lease_factor` times as long, on any node."""

    slow_lease_factor: float = 5.0
    """How much longer slow leases take."""

    seed: int = 0
    """Of the choice of what is lost and what is slow."""

    @property
    def even(self) -> Scenario:
        """The same without stragglers."""
        return dataclasses.replace(self, slow_nodes=0.0, slow_leases=0.0)

    @property
    def quiet(self) -> Scenario:
        """The same without losses and stragglers."""
        return dataclasses.replace(self.even, loss_every_seconds=None)

    @property
    def ranks(self) -> int:
        """Ranks of the training."""
        return -(-self.nodes // self.nodes_per_rank)


class Nodes:
    """The workers of one rank; `now` is the time in seconds."""

    consumers = 1

    def __init__(self, scenario: Scenario, nodes: range, chance: random.Random) -> None:
        self.now = 0.0
        each = scenario.workers_per_node
        self.workers = [Worker(str(number), number, ready=True) for number in range(len(nodes) * each)]
        self._scenario = scenario
        self._chance = chance
        slow = [chance.random() < scenario.slow_nodes for _ in nodes]
        self._pace = [scenario.slow_factor if slow[number // each] else 1.0 for number in range(len(self.workers))]
        self._free_at = [0.0] * len(self.workers)
        self._numbers = range(len(self.workers))
        self._silent_until: dict[int, float] = {}
        self._gone: list[list[tuple[float, float]]] = [[] for _ in self._numbers]
        self._due: list[tuple[float, int, int, range | None, float]] = []
        self._references = 0
        self._down: list[Worker] = []

    def clock(self) -> float:
        """The time in seconds."""
        return self.now

    def room(self, seconds: float) -> float:
        """Samples that the workers could have rendered by themselves in the first `seconds`."""
        there = (seconds - sum(min(back, seconds) - at for at, back in self._gone[number]) for number in self._numbers)
        return sum(s / pace for s, pace in zip(there, self._pace, strict=True)) / self._scenario.sample_seconds

    def lose(self, node: int) -> None:
        """A node falls silent; its calls fail when Ray notices, and later it is replaced."""
        each = self._scenario.workers_per_node
        numbers = set(range(node * each, (node + 1) * each))
        if self._silent_until.get(node * each, 0.0) > self.now:
            return
        noticed_at = self.now + self._scenario.noticed_seconds
        back_at = self.now + self._scenario.replaced_seconds
        self._silent_until.update(dict.fromkeys(numbers, back_at))
        for number in numbers:
            self._gone[number].append((self.now, back_at))
        self._due = [(noticed_at, due[1], due[2], None, 0.0) if due[2] in numbers else due for due in self._due]
        heapq.heapify(self._due)

    def ask(self, worker: Worker, flight: str, seed: int, lease: range) -> int:
        """Ask a worker for a lease."""
        del flight, seed
        worker.asked += 1
        self._references += 1
        number, scenario = worker.handle, self._scenario
        back_at = self._silent_until.get(number, 0.0)
        if back_at > self.now:
            noticed_at = back_at - scenario.replaced_seconds + scenario.noticed_seconds
            heapq.heappush(self._due, (max(self.now, noticed_at), self._references, number, None, 0.0))
        else:
            factor = scenario.slow_lease_factor if self._chance.random() < scenario.slow_leases else 1.0
            seconds = scenario.sample_seconds * len(lease) * self._pace[number] * factor
            at = max(self.now, self._free_at[number]) + seconds
            self._free_at[number] = at
            heapq.heappush(self._due, (at, self._references, number, lease, seconds))
        return self._references

    def poll(self, asked: Collection[int], timeout: float) -> tuple[list[tuple[int, Reply | Failure | Lost]], bool]:
        """Replies that are due; jumps to the first one, at most `timeout` s ahead."""
        if self._due and self._due[0][0] > self.now and timeout > 0:
            self.now = min(self.now + timeout, self._due[0][0])
        elif not self._due:
            self.now += timeout
        for worker in [worker for worker in self._down if worker.retry_at <= self.now]:
            self._down.remove(worker)
            worker.ready = True
            self._free_at[worker.handle] = self.now
        replies: list[tuple[int, Reply | Failure | Lost]] = []
        while self._due and self._due[0][0] <= self.now:
            _, reference, _, lease, seconds = heapq.heappop(self._due)
            if reference not in asked:
                continue
            if lease is None:
                replies.append((reference, Lost("the node is gone")))
            else:
                replies.append((reference, Reply([_sample(index) for index in lease], seconds)))
        return replies, bool(replies)

    def heard(self, worker: Worker, reply: Reply) -> None:
        """A worker that replies is no longer suspect."""
        del reply
        worker.suspect = False

    def suspect(self, worker: Worker) -> None:
        """A worker that is silent is asked for nothing more."""
        worker.suspect = True

    def lost(self, worker: Worker) -> None:
        """A worker whose node has gone comes back with the node that replaces it."""
        worker.down()
        worker.retry_at = self._silent_until.get(worker.handle, self.now)
        self._down.append(worker)

    def forget(self, flight: str) -> None:
        """Nobody waits any more."""
        del flight
        self._due.clear()


def _sample(index: int) -> Sample:
    return Sample(seed=0, index=index, image=_IMAGE, mask=_MASK, meta={})
