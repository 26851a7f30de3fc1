"""One consumer's leases in flight: asked of workers, asked again after a loss, handed on in order.

Knows Ray only through a pool that can `ask`, `poll`, `lost` and `forget`, so a simulated one will do.
"""

from __future__ import annotations

import collections
import dataclasses
import time
import uuid
from typing import TYPE_CHECKING, Any

from nanostream.errors import RenderError, StreamError
from nanostream.stream.actor import Failure, Reply
from nanostream.stream.engine import render_error
from nanostream.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nanostream.sample import Sample
    from nanostream.stream.engine import StreamRecipe
    from nanostream.stream.pool import Lost, Pool, Worker
    from nanostream.telemetry import StreamCounters

__all__ = ["Flight"]

_POLL_SECONDS = 0.5
_FAILURES = 2
_LOSSES_TOGETHER = 2
_LOSSES = 3


@dataclasses.dataclass(slots=True, eq=False)
class _Lease:
    """A lease between asking and handing on. left: indices that no reply has brought yet."""

    left: range
    samples: collections.deque[Sample] = dataclasses.field(default_factory=collections.deque)
    reference: Any = None
    worker: Worker | None = None
    part: int = 0
    asked_at: int = 0
    losses: int = 0
    failures: int = 0
    avoid: Worker | None = None
    error: Exception | None = None


class Flight:
    """Samples of leases in order.

    At most `(per_worker + 1) * workers / consumers` leases, or `ahead` samples where that is more,
    are asked for and not handed on yet. A lost worker's leases are asked for again; an index that
    fails twice, on two workers where there are two, raises RenderError when its turn comes, and so
    does one that ends its worker when it is asked for alone.
    """

    def __init__(
        self,
        pool: Pool,
        leases: Iterable[range],
        *,
        recipe: StreamRecipe,
        seed: int,
        ahead: int,
        per_worker: int,
        consumer: int,
        consumers: int,
        timeout_seconds: float,
        counters: StreamCounters,
    ) -> None:
        self._pool = pool
        self._leases = iter(leases)
        self._recipe = recipe
        self._seed = seed
        self._ahead = ahead
        self._per_worker = per_worker
        self._consumer = consumer
        self._consumers = consumers
        self._timeout_seconds = timeout_seconds
        self._counters = counters
        self._name = uuid.uuid4().hex
        self._window: collections.deque[_Lease] = collections.deque()
        self._asked: dict[Any, _Lease] = {}
        self._number = 0

    def samples(self) -> Iterator[Sample]:
        """The samples; closing the generator tells the workers to stop."""
        try:
            while True:
                self._take(0.0)
                self._fill()
                if not self._window:
                    return
                head = self._window[0]
                while head.samples:
                    yield head.samples.popleft()
                if head.error is not None:
                    raise head.error
                if head.left:
                    self._wait(head)
                else:
                    self._window.popleft()
                    metrics().leases_in_flight.set(len(self._window))
        finally:
            self._end()

    def _fill(self) -> None:
        """Take new leases up to the bound, and ask for all that nobody was asked for."""
        workers = max(1, len(self._pool.workers))
        bound = max(2, -(-(self._per_worker + 1) * workers // self._consumers))
        held = sum(len(lease.left) + len(lease.samples) for lease in self._window)
        while len(self._window) < bound or held < self._ahead:
            fresh = next(self._leases, None)
            if fresh is None:
                break
            self._window.append(_Lease(fresh))
            held += len(fresh)
        metrics().leases_in_flight.set(len(self._window))
        at_once = max(self._per_worker, -(-len(self._window) // workers))
        for lease in self._window:
            if lease.reference is None and lease.left and lease.error is None:
                free = [w for w in self._pool.workers if w.ready and w.asked < at_once]
                if not free:
                    return
                worker = self._choose(lease, free)
                if worker is not None:
                    self._ask(lease, worker)

    def _choose(self, lease: _Lease, free: list[Worker]) -> Worker | None:
        others = [w for w in free if w is not lease.avoid]
        if lease.avoid is not None and not others and any(w.ready for w in self._pool.workers if w is not lease.avoid):
            return None
        count = len(self._pool.workers)
        order = {id(w): (n - self._consumer) % count for n, w in enumerate(self._pool.workers)}
        return min(others or free, key=lambda w: (w.asked, order[id(w)]), default=None)

    def _ask(self, lease: _Lease, worker: Worker) -> None:
        # A lease that has cost two workers is asked for one sample at a time, to find the culprit.
        part = lease.left if lease.losses < _LOSSES_TOGETHER else lease.left[:1]
        self._number += 1
        lease.worker, lease.part, lease.asked_at = worker, len(part), self._number
        lease.reference = self._pool.ask(worker, self._name, self._seed, part)
        self._asked[lease.reference] = lease

    def _wait(self, head: _Lease) -> None:
        until = time.monotonic() + self._timeout_seconds
        while head.left and not head.samples and head.error is None:
            if self._take(_POLL_SECONDS):
                until = time.monotonic() + self._timeout_seconds
            elif time.monotonic() > until:
                ready = sum(worker.ready for worker in self._pool.workers)
                msg = (
                    f"expected a sample within {self._timeout_seconds:g} s, got none for index {head.left[0]} from "
                    f"{ready} ready of {len(self._pool.workers)} render workers; look at them, or raise timeout_seconds"
                )
                raise StreamError(msg)
            self._fill()

    def _take(self, timeout: float) -> bool:
        replies, moved = self._pool.poll(list(self._asked), timeout)
        # In the order they were asked for: of a lost worker's leases only the oldest may be at fault.
        for reference, outcome in sorted(replies, key=lambda pair: self._asked[pair[0]].asked_at):
            lease = self._asked.get(reference)
            if lease is None:
                continue
            if isinstance(outcome, Reply):
                self._received(lease, outcome)
            elif isinstance(outcome, Failure):
                self._received(lease, Reply([], 0.0, outcome))
            else:
                self._lost(lease, outcome)
        return moved

    def _release(self, lease: _Lease) -> None:
        self._asked.pop(lease.reference, None)
        if lease.worker is not None:
            lease.worker.asked -= 1
        lease.reference, lease.worker = None, None

    def _received(self, lease: _Lease, reply: Reply) -> None:
        worker = lease.worker
        self._release(lease)
        count = len(reply.samples)
        if [sample.index for sample in reply.samples] != list(lease.left[:count]):
            lease.error = StreamError(
                f"expected samples from index {lease.left[0]} on, got {[s.index for s in reply.samples]}; "
                "the renderer must return the index it was asked for"
            )
            return
        lease.samples.extend(reply.samples)
        lease.left = lease.left[count:]
        self._counters.rendered(count, reply.seconds)
        if count:
            lease.failures, lease.losses = 0, min(lease.losses, _LOSSES_TOGETHER)
        if reply.failure is not None:
            self._failed(lease, reply.failure, worker)

    def _failed(self, lease: _Lease, failure: Failure, worker: Worker | None) -> None:
        lease.failures += 1
        lease.avoid = worker
        self._counters.again()
        if lease.failures >= _FAILURES:
            if failure.ours and failure.kind == RenderError.__name__:
                lease.error = RenderError(failure.message)
                return
            reason = f"{failure.kind}: {failure.message}"
            lease.error = render_error(self._recipe, seed=self._seed, index=lease.left[0], reason=reason)

    def _lost(self, lease: _Lease, lost: Lost) -> None:
        worker = lease.worker
        if worker is None:
            return
        self._pool.lost(worker)
        lease.losses += 1
        if lease.part == 1 and lease.losses >= _LOSSES:
            reason = f"the end of {lease.losses} render workers ({lost.reason})"
            lease.error = render_error(self._recipe, seed=self._seed, index=lease.left[0], reason=reason)
        for other in [other for other in self._asked.values() if other.worker is worker]:
            self._release(other)
            self._counters.again()

    def _end(self) -> None:
        wanted = list(self._asked.values())
        for lease in wanted:
            self._release(lease)
        self._window.clear()
        metrics().leases_in_flight.set(0)
        if wanted:
            self._pool.forget(self._name)
