"""The render workers as one process uses them: warmed side by side, asked, watched, started again."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

import ray
import ray.exceptions

from nanostream.errors import StreamError
from nanostream.stream import cluster
from nanostream.stream.actor import Failure, Reply
from nanostream.stream.engine import Ticket
from nanostream.stream.health import Health
from nanostream.stream.worker import Lost
from nanostream.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from nanostream.stream.engine import Build
    from nanostream.stream.roster import Roster
    from nanostream.stream.worker import Worker

__all__ = ["Pool"]

_RETRY_SECONDS = 0.1
_RETRY_MOST_SECONDS = 1.0
_DEATHS_IN_A_ROW = 8


class Pool:
    """Render workers of one recipe. The process that hired them ends them; others only join.

    With a roster, a keeper hires and ends them, and says every second who they are.
    """

    def __init__(
        self,
        connection: cluster.Cluster,
        workers: list[Worker],
        *,
        owner: bool,
        roster: Roster | None = None,
        most_resident_bytes: int | None = None,
    ) -> None:
        self._connection: cluster.Cluster | None = connection
        self._owner = owner
        self._roster = roster
        self._pid = os.getpid()
        self._errands: dict[Any, tuple[Worker | None, Callable[[Any], None]]] = {}
        self._health = Health(self.send, most_resident_bytes=most_resident_bytes)
        self.workers = workers
        self.build: Build | None = None
        self._tend()

    @property
    def ticket(self) -> Ticket:
        """What another process needs to join."""
        assert self._connection is not None
        names = tuple(worker.name for worker in self.workers)
        keeper = self._roster.keeper if self._roster else None
        folder = self._connection.own.temp_dir if self._connection.own else None
        return Ticket(self._connection.address, names, cluster.authentication(), keeper, folder)

    @property
    def consumers(self) -> int:
        """How many consumers share the workers, as far as a keeper counts them."""
        return self._roster.consumers if self._roster else 1

    def ask(self, worker: Worker, flight: str, seed: int, lease: range, more: Mapping[str, Any] | None = None) -> Any:
        """Ask a worker for a lease; returns what `poll` knows the reply by. more: see `RenderActor.render`."""
        worker.asked += 1
        return worker.handle.render.remote(flight, seed, (lease.start, lease.stop, lease.step), more)

    def forget(self, flight: str) -> None:
        """Tell all workers that nobody waits for a flight any more."""
        # Ray starts a new cluster of its own accord when it is used after its end.
        for worker in self.workers if ray.is_initialized() else ():
            with contextlib.suppress(Exception):
                worker.handle.forget.remote(flight)

    def poll(self, asked: Collection[Any], timeout: float) -> tuple[list[tuple[Any, Reply | Failure | Lost]], bool]:
        """Replies that are there, and whether anything moved; waits up to `timeout` s for the first.

        Workers that are warm become ready here; raises BackendError and the like where they cannot.
        """
        if self._connection is None or not ray.is_initialized():
            msg = "expected an open pool of render workers, got a closed one; end the iteration before close()"
            raise StreamError(msg)
        self._tend()
        references = [*asked, *self._errands]
        if not references:
            time.sleep(timeout)
            return [], False
        there, _ = ray.wait(references, num_returns=len(references), timeout=0)
        if not there and timeout > 0:
            there, _ = ray.wait(references, num_returns=1, timeout=timeout)
        replies, moved = [], False
        for reference in there:
            errand = self._errands.pop(reference, None)
            if errand is None:
                replies.append((reference, _get(reference)))
            else:
                moved |= errand[0] is not None
                errand[1](_get(reference))
        return replies, moved or bool(replies)

    def pids(self) -> list[int]:
        """Process numbers of the workers that answer; waits for those that start."""
        calls = [worker.handle.pid.remote() for worker in self.workers]
        return [pid for pid in map(_get, calls) if isinstance(pid, int)]

    def send(self, reference: Any, then: Callable[[Any], None], *, worker: Worker | None = None) -> None:
        """Have `poll` wait for a call's outcome as well, and hand it on."""
        self._errands[reference] = worker, then

    def heard(self, worker: Worker, reply: Reply) -> None:
        """Note a worker's reply."""
        self._health.heard(worker, reply)

    def suspect(self, worker: Worker) -> None:
        """Note that a worker has been silent for too long, and look whether it is frozen."""
        self._health.suspect(worker)

    def lost(self, worker: Worker) -> None:
        """Note that a worker has gone; Ray starts it again, and it is ready once it is warm."""
        self._health.lost(worker)
        self._gauge()

    def first_build(self, timeout_seconds: float) -> Build:
        """What renders, as soon as one worker is warm; StreamError after `timeout_seconds`."""
        until = time.monotonic() + timeout_seconds
        while self.build is None:
            if time.monotonic() > until:
                msg = f"expected a render worker to start within {timeout_seconds:g} s, got none; raise timeout_seconds"
                raise StreamError(msg)
            self.poll((), 0.2)
        return self.build

    def close(self) -> None:
        """End the workers where this process hired them, leave them where it joined; give Ray back."""
        connection, self._connection = self._connection, None
        if connection is None or self._pid != os.getpid():
            return
        if ray.is_initialized():
            if self._roster is not None:
                self._roster.leave()
            for worker in self.workers if self._owner else ():
                with contextlib.suppress(Exception):
                    ray.kill(worker.handle, no_restart=True)
        self.workers = []
        self._errands.clear()
        self._gauge()
        cluster.release(connection)

    def _tend(self) -> None:
        """Warm those who are not ready, but not too often; look after those who are; follow the roster."""
        now = time.monotonic()
        if self._roster is not None:
            self._roster.follow(self)
        for worker in self.workers:
            if not worker.ready and worker.warming is None and now >= worker.retry_at:
                worker.warming = worker.handle.warm.remote()
                self.send(worker.warming, lambda outcome, w=worker: self._warmed(w, outcome), worker=worker)
        self._health.tend(self.workers)

    def _warmed(self, worker: Worker, outcome: Build | Failure | Lost) -> None:
        worker.warming = None
        if isinstance(outcome, Lost):
            worker.deaths += 1
            worker.retry_at = time.monotonic() + min(_RETRY_MOST_SECONDS, _RETRY_SECONDS * 2**worker.deaths)
            if worker in self.workers and self._hopeless():
                msg = (
                    f"expected a render worker that starts, got {_DEATHS_IN_A_ROW} deaths in a row of each "
                    f"({outcome.reason}); run `nanostream doctor` on that node"
                )
                raise StreamError(msg)
            return
        if isinstance(outcome, Failure):
            raise outcome.error()
        if self.build is not None and outcome != self.build:
            msg = (
                f"expected render workers that all render with {self.build.backend} ({self.build.hash[:12]}), got one "
                f"with {outcome.backend} ({outcome.hash[:12]}); give every node the same libraries and hardware"
            )
            raise StreamError(msg)
        self.build = outcome
        worker.ready, worker.deaths = True, 0
        self._gauge()

    def _hopeless(self) -> bool:
        """Whether none of the workers starts; those of a keeper that is away are about to be replaced."""
        roster = self._roster
        if roster is not None and (roster.silent or {worker.name for worker in self.workers} != set(roster.names)):
            return False
        return all(not worker.ready and worker.deaths >= _DEATHS_IN_A_ROW for worker in self.workers)

    def _gauge(self) -> None:
        metrics().workers_alive.set(sum(worker.ready for worker in self.workers))
        if self._roster is None:
            metrics().workers_wanted.set(len(self.workers))


def _get(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        return Failure(type(error).__name__, str(error.cause), ours=False)
    except ray.exceptions.RayError as error:
        # Whatever else Ray reports (actor, node, owner or object gone) means: ask again elsewhere.
        return Lost(" ".join(str(error).split())[:300])
