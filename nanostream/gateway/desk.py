"""Many jobs at once on one pool of render workers: each in its own order, all in turn.

A stream's `Flight` serves one consumer. Here a thread asks the workers for one lease of each job in
turn, hands samples on in the order of their job, and asks again what a worker was lost with.
"""

from __future__ import annotations

import collections
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from nanostream.errors import NanostreamError, RenderError, StreamError
from nanostream.stream.actor import Failure, Reply
from nanostream.stream.engine import render_error
from nanostream.stream.lease import Ask, Lease, Patience

if TYPE_CHECKING:
    from nanostream.gateway.job import Job
    from nanostream.gateway.workers import DeskPool
    from nanostream.stream.engine import Build
    from nanostream.stream.worker import Lost, Worker
    from nanostream.telemetry import StreamCounters

__all__ = ["Desk"]

_BUSY_SECONDS = 0.02
_FULL_SECONDS = 0.25
_IDLE_SECONDS = 0.2
_LEASE_SECONDS = 0.2
_MOST_LEASE = 16
_FAILURES = 2
_LOSSES_TOGETHER = 2
_LOSSES = 3

_log = logging.getLogger("nanostream.gateway")


class Desk:
    """The thread that serves jobs. per_worker: leases that each worker has at a time."""

    def __init__(self, pool: DeskPool, counters: StreamCounters, *, per_worker: int = 2) -> None:
        self.pool = pool
        self.counters = counters
        self.failure: Exception | None = None
        self._per_worker = per_worker
        self._patience = Patience(least_seconds=2.0)
        self._seconds = _LEASE_SECONDS / 4
        self._new: collections.deque[Job] = collections.deque()
        self._jobs: collections.deque[Job] = collections.deque()
        self._asks: dict[Any, tuple[Job, Ask]] = {}
        self._number = 0
        self._wake = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="nanostream-desk", daemon=True)
        self._thread.start()

    @property
    def build(self) -> Build | None:
        """What renders, once a worker is warm."""
        return self.pool.build

    @property
    def ready_workers(self) -> int:
        """Workers that may be asked."""
        return sum(worker.ready for worker in self.pool.workers)

    @property
    def lease_size(self) -> int:
        """Samples that a worker is asked for at a time: about a fifth of a second's."""
        return max(1, min(_MOST_LEASE, int(_LEASE_SECONDS / self._seconds)))

    def submit(self, job: Job) -> None:
        """Begin a job; from any thread."""
        self._new.append(job)
        self._wake.set()

    def consumed(self, job: Job, count: int) -> None:
        """Note that a job's consumer has taken samples; from any one thread."""
        job.consumed += count
        self._wake.set()

    def cancel(self, job: Job) -> None:
        """Give a job up; from any thread, more calls do nothing."""
        job.cancelled = True
        self._wake.set()

    def close(self) -> None:
        """End the thread, then the pool; jobs under way end with StreamError."""
        self._stop = True
        self._wake.set()
        self._thread.join()
        self.pool.close()

    def _run(self) -> None:
        while not self._stop:
            try:
                self._turn()
                if self.pool.build is not None:
                    self.failure = None
            except Exception as error:  # noqa: BLE001 - whatever it is, its jobs are told and the next ones served
                if not isinstance(error, NanostreamError):
                    _log.exception("the desk met an unexpected error")
                self._fail(error)
                self.failure = error
                time.sleep(_IDLE_SECONDS)
        self._fail(StreamError("expected a gateway that goes on, got one that ends; ask again later"))

    def _turn(self) -> None:
        while self._new:
            self._jobs.append(self._new.popleft())
        for job in [job for job in self._jobs if job.cancelled]:
            self._end(job)
        idle = not self._asks
        self._fill()
        if idle and self._asks:
            self.counters.asked()
        if not self._asks:
            self._wake.wait(_IDLE_SECONDS if self.pool.build is not None else _BUSY_SECONDS)
        self._wake.clear()
        asked = list(self._asks)
        # Where nobody could be asked for more, nothing but a reply is worth waking for.
        room = any(worker.free and worker.asked < self._per_worker for worker in self.pool.workers)
        replies, _ = self.pool.poll(asked, (_BUSY_SECONDS if room else _FULL_SECONDS) if asked else 0.0)
        moved = dict.fromkeys(self._taken(reference, outcome) for reference, outcome in self._in_order(replies))
        for job in moved:
            if job in self._jobs and job.flush(self.counters.delivered):
                self._end(job)
        if moved:
            # As long as somebody's sample is being rendered, somebody waits.
            (self.counters.asked if self._asks else self.counters.asks_no_more)()
        self._look_for_silence()

    def _in_order(self, replies: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        # In the order they were asked for: of a lost worker's leases only the oldest may be at fault.
        known = [pair for pair in replies if pair[0] in self._asks]
        return sorted(known, key=lambda pair: self._asks[pair[0]][1].number)

    def _fill(self) -> None:
        """Ask for one lease of each job in turn while workers are free."""
        idle = 0
        while self._jobs and idle < len(self._jobs):
            free = [worker for worker in self.pool.workers if worker.free and worker.asked < self._per_worker]
            if not free:
                return
            job = self._jobs[0]
            self._jobs.rotate(-1)
            lease = job.next_lease(self.lease_size)
            worker = self._choose(lease, free) if lease is not None else None
            if lease is None or worker is None:
                idle += 1
                if job.ended and not job.window and job.flush(self.counters.delivered):
                    self._end(job)
                continue
            idle = 0
            # A lease that has cost two workers is asked for one sample at a time, to find the culprit.
            part = lease.left if lease.losses < _LOSSES_TOGETHER else lease.left[:1]
            self._number += 1
            ask = Ask(lease, worker, part, self._number, time.monotonic(), hedge=bool(lease.asks))
            if ask.hedge:
                self.counters.hedged()
            lease.asks.append(ask)
            reference = self.pool.ask(worker, job.name, job.order.seed, part, job.terms)
            self._asks[reference] = job, ask

    def _choose(self, lease: Lease, free: list[Worker]) -> Worker | None:
        asked = [ask.worker for ask in lease.asks]
        others = [worker for worker in free if worker is not lease.avoid and worker not in asked]
        if not others:
            # Nobody but the one whose failure it was: wait for another, where there is one.
            rest = [worker for worker in self.pool.workers if worker.ready and worker is not lease.avoid]
            return None if rest or asked else free[0]
        return min(others, key=lambda worker: worker.asked)

    def _release(self, reference: Any) -> tuple[Job, Ask]:
        job, ask = self._asks.pop(reference)
        ask.lease.asks.remove(ask)
        ask.worker.asked -= 1
        return job, ask

    def _taken(self, reference: Any, outcome: Reply | Failure | Lost) -> Job | None:
        if reference not in self._asks:
            return None
        if not isinstance(outcome, (Reply, Failure)):
            return self._lost(*self._asks[reference], reason=outcome.reason)
        job, ask = self._release(reference)
        reply = outcome if isinstance(outcome, Reply) else Reply([], 0.0, outcome)
        lease, count = ask.lease, len(reply.samples)
        ask.worker.heard_at = time.monotonic()
        self.pool.heard(ask.worker, reply)
        self._patience.saw(count, reply.seconds)
        if count:
            self._seconds += 0.2 * (max(1e-5, reply.seconds / count) - self._seconds)
        self.counters.rendered(count, reply.seconds, sum(sample.nbytes for sample in reply.samples))
        lease.take(ask, reply.samples)
        if reply.failure is not None and lease.left and lease.left[0] == ask.indices[count]:
            lease.failures += 1
            lease.avoid = ask.worker
            self.counters.again()
            if lease.failures >= _FAILURES:
                lease.error = self._error(job, lease.left[0], reply.failure)
        return job

    def _error(self, job: Job, index: int, failure: Failure) -> Exception:
        if failure.ours and failure.kind == RenderError.__name__:
            return RenderError(failure.message)
        reason = f"{failure.kind}: {failure.message}"
        return render_error(job.order.offer.recipe, seed=job.order.seed, index=index, reason=reason)

    def _lost(self, job: Job, ask: Ask, *, reason: str) -> Job:
        lease = ask.lease
        self.pool.lost(ask.worker)
        if lease.left:
            lease.losses += 1
            if len(ask.indices) == 1 and lease.losses >= _LOSSES:
                why = f"the end of {lease.losses} render workers ({reason})"
                lease.error = render_error(job.order.offer.recipe, seed=job.order.seed, index=lease.left[0], reason=why)
        for reference in [reference for reference, (_, other) in self._asks.items() if other.worker is ask.worker]:
            self._release(reference)
            self.counters.again()
        return job

    def _look_for_silence(self) -> None:
        now = time.monotonic()
        for _, ask in self._asks.values():
            worker = ask.worker
            patience = self._patience.seconds(len(ask.indices) * self._per_worker)
            if worker.suspect or not worker.ready or patience is None:
                continue
            if now - max(ask.at, worker.heard_at) > patience:
                self.pool.suspect(worker)

    def _fail(self, error: Exception) -> None:
        for job in [*self._jobs, *self._new]:
            job.deliver(error)
        self._jobs.clear()
        self._new.clear()
        for reference in list(self._asks):
            self._release(reference)

    def _end(self, job: Job) -> None:
        self._jobs.remove(job)
        if any(other is job for other, _ in self._asks.values()):
            self.pool.forget(job.name)
