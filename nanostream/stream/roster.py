"""A consumer's side of a keeper: who the workers are now, and what this consumer saw, every second."""

from __future__ import annotations

import os
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import ray
import ray.exceptions

from nanostream.errors import StreamError
from nanostream.stream.crew import find
from nanostream.stream.keeper import KeeperActor, Names, Report
from nanostream.stream.own import NAMESPACE
from nanostream.telemetry import metrics

if TYPE_CHECKING:
    from nanostream.stream.crew import Terms
    from nanostream.stream.pool import Pool
    from nanostream.stream.worker import Worker
    from nanostream.telemetry import StreamCounters

__all__ = ["Roster"]

_REPORT_SECONDS = 1.0
_ANSWER_SECONDS = 30.0
_SILENT_SECONDS = 30.0
_TRIES = 20


class Roster:
    """Who the workers of a kept pool are; a thread of its own says that this consumer is still there."""

    def __init__(self, keeper: str, handle: Any, names: Names, consumer: str, counters: StreamCounters) -> None:
        self.keeper = keeper
        self._counters = counters
        self._handle = handle
        self._names = names
        self._consumer = consumer
        self._leaving: list[Worker] = []
        self._using: tuple[str, ...] = ()
        self._ready = 0
        self._heard_at = time.monotonic()
        self._failure: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._report, daemon=True, name="nanostream-roster")
        self._thread.start()

    @classmethod
    def open(cls, name: str, terms: Terms, *, span: tuple[int, int], counters: StreamCounters) -> Roster:
        """Join the keeper of that name, or make it; StreamError where it keeps workers of another recipe."""
        actor: Any = ray.remote(KeeperActor)
        options = {"name": name, "namespace": NAMESPACE, "num_cpus": 0, "lifetime": "detached", "get_if_exists": True}
        return cls._join(
            name,
            lambda: actor.options(**options, max_restarts=-1).remote(terms, span),
            recipe=terms.recipe.hash,
            counters=counters,
        )

    @classmethod
    def join(cls, name: str, *, counters: StreamCounters) -> Roster:
        """Join the keeper of that name; raises Ray's ValueError where there is none."""
        return cls._join(name, lambda: ray.get_actor(name, namespace=NAMESPACE), recipe=None, counters=counters)

    @classmethod
    def _join(cls, name: str, keeper: Any, *, recipe: str | None, counters: StreamCounters) -> Roster:
        consumer = f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        for attempt in range(_TRIES):
            handle = keeper()
            try:
                kept, names = ray.get(handle.join.remote(consumer), timeout=_ANSWER_SECONDS)
            except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
                # The last consumer of the one before may have left this very moment.
                if attempt == _TRIES - 1:
                    raise
                threading.Event().wait(0.25)
                continue
            if recipe is not None and kept != recipe:
                ray.get(handle.leave.remote(consumer), timeout=_ANSWER_SECONDS)
                msg = (
                    f"expected the pool {name!r} to render recipe {recipe[:12]}, got one that renders {kept[:12]}; "
                    "name another pool, or close its other consumers first"
                )
                raise StreamError(msg)
            return cls(name, handle, names, consumer, counters)
        raise AssertionError

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the workers."""
        return self._names.workers

    @property
    def silent(self) -> bool:
        """Whether the keeper does not answer, as one that has been lost and is being started again."""
        return time.monotonic() - self._heard_at > 2 * _REPORT_SECONDS

    @property
    def consumers(self) -> int:
        """How many consumers share the workers."""
        return max(1, self._names.consumers)

    def follow(self, pool: Pool) -> None:
        """Bring the pool's workers up to date; raise StreamError where the keeper has gone."""
        if self._failure is not None:
            raise StreamError(self._failure)
        names = self._names
        metrics().workers_wanted.set(names.wanted)
        have = {worker.name: worker for worker in pool.workers}
        if set(have) != set(names.workers):
            for name in names.workers:
                if name not in have:
                    try:
                        have[name] = find(name)
                    except ValueError:
                        continue
            self._leaving += [w for name, w in have.items() if name not in names.workers and w.asked]
            pool.workers = [have[name] for name in names.workers if name in have]
        self._leaving = [worker for worker in self._leaving if worker.asked]
        self._using = tuple(worker.name for worker in self._leaving)
        self._ready = sum(worker.ready for worker in pool.workers)

    def leave(self) -> None:
        """Say goodbye; the keeper ends with its last consumer."""
        self._stop.set()
        self._thread.join(timeout=_REPORT_SECONDS)
        try:
            ray.get(self._handle.leave.remote(self._consumer), timeout=_REPORT_SECONDS)
        except Exception:  # noqa: BLE001 - it may have gone already, and finds out about us by itself
            return

    def _report(self) -> None:
        before = self._counters.stats()
        while not self._stop.wait(_REPORT_SECONDS):
            now = self._counters.stats()
            report = Report(
                seconds=now.elapsed_seconds - before.elapsed_seconds,
                wait_seconds=now.wait_seconds - before.wait_seconds,
                render_seconds=now.render_seconds - before.render_seconds,
                ready=self._ready,
                using=self._using,
            )
            before = now
            try:
                names: Any = ray.get(self._handle.report.remote(self._consumer, report), timeout=_ANSWER_SECONDS)
                self._names, self._heard_at = names, time.monotonic()
            except Exception as error:  # noqa: BLE001 - said in the consumer's own thread
                # Ray starts a lost keeper again.
                if time.monotonic() - self._heard_at > _SILENT_SECONDS and not self._stop.is_set():
                    self._failure = (
                        f"expected the keeper of the pool {self.keeper!r} to answer, got {type(error).__name__}; "
                        "open the stream again and load its state"
                    )
                    return
