"""One consumer's leases in flight: asked of workers, asked again after a loss, handed on in order.

Knows Ray only through a pool that can `ask`, `poll`, `lost`, `suspect` and `forget`, so that a simulated
one will do: `testing.SimulatedPool`.
"""

from __future__ import annotations

import collections
import heapq
import time
import uuid
from typing import TYPE_CHECKING, Any

from nanostream.errors import RenderError, StreamError
from nanostream.stream.actor import Failure, Reply
from nanostream.stream.engine import render_error
from nanostream.stream.lease import Ask, Lease, Patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nanostream.sample import Sample
    from nanostream.stream.engine import StreamRecipe
    from nanostream.stream.worker import FlightPool, Lost, Worker
    from nanostream.telemetry import StreamCounters

__all__ = ["Flight"]

_POLL_SECONDS = 0.1
_FAILURES = 2
_LOSSES_TOGETHER = 2
_LOSSES = 3
_LEAST_LEASES = 2


class Flight:
    """Samples of leases in order.

    At most `(per_worker + 1) * workers / consumers` leases, or `ahead` samples where that is more,
    are asked for and not handed on yet; and no more than `most_bytes` of samples, but for two leases
    that a stream needs to flow. A lost worker's leases are asked for again. While the consumer waits, the
    leases of a worker that is silent for longer than `patience` are asked of another one as well, and
    the first reply counts. An index that fails twice, on two workers where there are two, raises
    RenderError when its turn comes, and so does one that ends its worker when it is asked for alone.
    """

    def __init__(
        self,
        pool: FlightPool,
        leases: Iterable[range],
        *,
        recipe: StreamRecipe,
        seed: int,
        counters: StreamCounters,
        ahead: int = 0,
        per_worker: int = 2,
        consumer: int = 0,
        consumers: int = 1,
        most_bytes: int = 1 << 30,
        timeout_seconds: float = 300.0,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._leases = iter(leases)
        self._recipe = recipe
        self._seed = seed
        self._counters = counters
        self._ahead = ahead
        self._per_worker = per_worker
        self._consumer = consumer
        self._consumers = consumers
        self._most_bytes = most_bytes
        self._timeout_seconds = timeout_seconds
        self._patience = patience or Patience()
        self._clock = clock
        self._name = uuid.uuid4().hex
        self._window: collections.deque[Lease] = collections.deque()
        self._taken = 0
        # Numbers of leases that may have to be asked of somebody, the smallest first: looking through the whole
        # window after each reply would take most of the time of a thousand workers.
        self._todo: list[int] = []
        self._asked: dict[Any, Ask] = {}
        self._number = 0
        self._held = 0
        self._sample_bytes = 0

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
                    self._held -= 1
                    yield head.samples.popleft()
                if head.error is not None:
                    raise head.error
                if head.left:
                    self._wait(head)
                else:
                    self._window.popleft()
        finally:
            self._end()

    def _fill(self) -> None:
        """Take new leases up to the bounds, and ask for all that nobody was asked for."""
        workers = max(1, len(self._pool.workers))
        # Until a sample has told its size, one lease a worker will do.
        each, ahead = (self._per_worker + 1, self._ahead) if self._sample_bytes else (1, 0)
        bound = max(_LEAST_LEASES, -(-each * workers // self._consumers))
        while len(self._window) < bound or self._held < ahead:
            if len(self._window) >= _LEAST_LEASES and self._held * self._sample_bytes >= self._most_bytes:
                break
            fresh = next(self._leases, None)
            if fresh is None:
                break
            self._window.append(Lease(fresh, number=self._taken))
            heapq.heappush(self._todo, self._taken)
            self._taken += 1
            self._held += len(fresh)
        self._counters.in_flight(len(self._window), self._held * self._sample_bytes)
        at_once = max(self._per_worker, -(-len(self._window) // workers))
        free = [worker for worker in self._pool.workers if worker.free and worker.asked < at_once]
        if any(worker.suspect for worker in self._pool.workers):
            # What they have may have to be asked of others as well.
            self._todo = [lease.number for lease in self._window if lease.unasked]
        nobody = []
        while free and self._todo:
            number = heapq.heappop(self._todo)
            lease = self._lease(number)
            if lease is None or not lease.unasked:
                continue
            worker = self._choose(lease, free)
            if worker is None:
                nobody.append(number)
                continue
            self._ask(lease, worker)
            if worker.asked >= at_once:
                free.remove(worker)
        for number in nobody:
            heapq.heappush(self._todo, number)

    def _lease(self, number: int) -> Lease | None:
        """The lease of that number; None once it has been handed on."""
        place = number - self._window[0].number if self._window else -1
        return self._window[place] if place >= 0 else None

    def _choose(self, lease: Lease, free: list[Worker]) -> Worker | None:
        asked = [ask.worker for ask in lease.asks]
        others = [worker for worker in free if worker is not lease.avoid and worker not in asked]
        if not others:
            # Nobody but the one whose failure it was: wait for another, where there is one.
            rest = [w for w in self._pool.workers if w.ready and w is not lease.avoid]
            return None if rest or asked else free[0]
        # Consumers of the same workers begin at different ones.
        turn = self._consumer % len(others)
        return min(others[turn:] + others[:turn], key=lambda worker: worker.asked)

    def _ask(self, lease: Lease, worker: Worker) -> None:
        # A lease that has cost two workers is asked for one sample at a time, to find the culprit.
        part = lease.left if lease.losses < _LOSSES_TOGETHER else lease.left[:1]
        self._number += 1
        ask = Ask(lease, worker, part, self._number, self._clock(), hedge=bool(lease.asks))
        if ask.hedge:
            self._counters.hedged()
        lease.asks.append(ask)
        self._asked[self._pool.ask(worker, self._name, self._seed, part)] = ask

    def _wait(self, head: Lease) -> None:
        """Wait for the head's next sample, and look meanwhile for those who are silent."""
        began = moved_at = self._clock()
        while head.left and not head.samples and head.error is None:
            if self._take(_POLL_SECONDS):
                moved_at = self._clock()
            elif self._clock() > moved_at + self._timeout_seconds:
                ready = sum(worker.ready for worker in self._pool.workers)
                msg = (
                    f"expected a sample within {self._timeout_seconds:g} s, got none for index {head.left[0]} from "
                    f"{ready} ready of {len(self._pool.workers)} render workers; look at them, or raise timeout_seconds"
                )
                raise StreamError(msg)
            self._look_for_silence(began)
            self._fill()

    def _look_for_silence(self, waiting_since: float) -> None:
        # Replies that came while the consumer was busy are only read now: silence begins with waiting.
        now, consumers = self._clock(), max(self._consumers, self._pool.consumers)
        for ask in self._asked.values():
            worker = ask.worker
            if worker.suspect or not worker.ready:
                continue
            patience = self._patience.seconds(len(ask.indices), consumers=consumers)
            if patience is not None and now - max(waiting_since, ask.at, worker.heard_at) > patience:
                self._pool.suspect(worker)

    def _take(self, timeout: float) -> bool:
        replies, moved = self._pool.poll(self._asked, timeout)
        # In the order they were asked for: of a lost worker's leases only the oldest may be at fault.
        for reference, outcome in sorted(replies, key=lambda pair: self._asked[pair[0]].number):
            ask = self._asked.get(reference)
            if ask is None:
                continue
            if isinstance(outcome, (Reply, Failure)):
                self._release(reference)
                self._received(ask, outcome if isinstance(outcome, Reply) else Reply([], 0.0, outcome))
            else:
                self._lost(ask, outcome)
        return moved

    def _release(self, reference: Any) -> Ask:
        ask = self._asked.pop(reference)
        ask.lease.asks.remove(ask)
        heapq.heappush(self._todo, ask.lease.number)
        ask.worker.asked -= 1
        return ask

    def _received(self, ask: Ask, reply: Reply) -> None:
        lease, count = ask.lease, len(reply.samples)
        ask.worker.heard_at = self._clock()
        self._pool.heard(ask.worker, reply)
        self._patience.saw(count, reply.seconds)
        if [sample.index for sample in reply.samples] != list(ask.indices[:count]):
            lease.error = StreamError(
                f"expected samples from index {ask.indices[0]} on, got {[s.index for s in reply.samples]}; "
                "the renderer must return the index it was asked for"
            )
            return
        if count:
            self._sample_bytes = max(self._sample_bytes, reply.samples[0].nbytes)
        self._counters.rendered(count, reply.seconds, sum(sample.nbytes for sample in reply.samples))
        if lease.take(ask, reply.samples):
            lease.failures, lease.losses = 0, min(lease.losses, _LOSSES_TOGETHER)
        if reply.failure is not None and lease.left and lease.left[0] == ask.indices[count]:
            self._failed(lease, reply.failure, ask.worker)

    def _failed(self, lease: Lease, failure: Failure, worker: Worker) -> None:
        lease.failures += 1
        lease.avoid = worker
        self._counters.again()
        if lease.failures >= _FAILURES:
            if failure.ours and failure.kind == RenderError.__name__:
                lease.error = RenderError(failure.message)
                return
            reason = f"{failure.kind}: {failure.message}"
            lease.error = render_error(self._recipe, seed=self._seed, index=lease.left[0], reason=reason)

    def _lost(self, ask: Ask, lost: Lost) -> None:
        lease, worker = ask.lease, ask.worker
        self._pool.lost(worker)
        if lease.left:
            lease.losses += 1
            if len(ask.indices) == 1 and lease.losses >= _LOSSES:
                reason = f"the end of {lease.losses} render workers ({lost.reason})"
                lease.error = render_error(self._recipe, seed=self._seed, index=lease.left[0], reason=reason)
        for reference in [reference for reference, other in self._asked.items() if other.worker is worker]:
            self._release(reference)
            self._counters.again()

    def _end(self) -> None:
        wanted = list(self._asked)
        for reference in wanted:
            self._release(reference)
        self._window.clear()
        self._counters.in_flight(0, 0)
        if wanted:
            self._pool.forget(self._name)
