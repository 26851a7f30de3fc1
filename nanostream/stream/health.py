"""Which workers are to be started again: frozen ones, hung ones, and those that have grown too large."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import ray

from nanostream.stream.worker import Lost, Worker
from nanostream.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nanostream.stream.actor import Reply

__all__ = ["Health"]

_FROZEN_SECONDS = 10.0
_HUNG_SECONDS = 120.0
_GROWTH = 1.25
_KILLED_SECONDS = 0.5


class Health:
    """Looks after workers: `send(reference, then)` has the outcome of a call handed on.

    A silent worker is pinged on a thread of its own; one that does not answer for 10 s is frozen,
    one that answers and still renders nothing for 120 s hangs. One whose resident size is over
    `most_resident_bytes`, and a quarter over what it was at first, is asked for nothing more and
    started again, one at a time.
    """

    def __init__(self, send: Callable[[Any, Callable[[Any], None]], None], *, most_resident_bytes: int | None) -> None:
        self._send = send
        self._most_resident_bytes = most_resident_bytes
        self._causes: dict[int, str] = {}
        self._suspected_at: dict[int, float] = {}

    def heard(self, worker: Worker, reply: Reply) -> None:
        """Note a reply: the worker is alive, and this large."""
        worker.suspect, worker.ping = False, None
        worker.resident_bytes = reply.resident_bytes
        worker.resident_at_first = worker.resident_at_first or reply.resident_bytes

    def suspect(self, worker: Worker) -> None:
        """Note that a worker is silent, and ping it."""
        worker.suspect = True
        self._suspected_at[id(worker)] = time.monotonic()
        self._ping(worker)

    def lost(self, worker: Worker) -> None:
        """Note that a worker has gone."""
        cause = self._causes.pop(id(worker), "lost")
        if worker.ready:
            metrics().worker_restarts.labels(cause=cause).inc()
        worker.down()

    def tend(self, workers: Iterable[Worker]) -> None:
        """Start again whoever needs it."""
        workers = list(workers)
        metrics().resident_bytes.set(sum(worker.resident_bytes for worker in workers))
        now = time.monotonic()
        for worker in workers:
            if worker.suspect and worker.ready:
                if worker.ping is None:
                    if not worker.asked:
                        # It is alive, and whoever waited for it has gone.
                        worker.suspect = False
                    elif now - self._suspected_at[id(worker)] > _HUNG_SECONDS:
                        self._restart(worker, "hung")
                    elif now - worker.pinged_at > _FROZEN_SECONDS:
                        self._ping(worker)
                elif now - worker.pinged_at > _FROZEN_SECONDS:
                    self._restart(worker, "frozen")
        self._retire(workers)

    def _ping(self, worker: Worker) -> None:
        worker.pinged_at = time.monotonic()
        reference = worker.handle.pid.remote()
        worker.ping = reference

        def answered(outcome: Any) -> None:
            if worker.ping is reference and not isinstance(outcome, Lost):
                worker.ping = None

        self._send(reference, answered)

    def _retire(self, workers: list[Worker]) -> None:
        most = self._most_resident_bytes
        if most is None:
            return
        for worker in workers:
            if worker.retiring:
                if worker.ready and not worker.asked:
                    self._restart(worker, "resident")
                return
        if not all(worker.ready for worker in workers):
            return
        for worker in workers:
            if worker.resident_bytes > max(most, _GROWTH * worker.resident_at_first):
                worker.retiring = True
                return

    def _restart(self, worker: Worker, cause: str) -> None:
        self._causes[id(worker)] = cause
        worker.ping, worker.pinged_at = None, time.monotonic()
        self._suspected_at[id(worker)] = time.monotonic()
        with contextlib.suppress(Exception):
            ray.kill(worker.handle, no_restart=False)
        if not worker.asked:
            # Nobody else will see it go.
            worker.retry_at = time.monotonic() + _KILLED_SECONDS
            self.lost(worker)
