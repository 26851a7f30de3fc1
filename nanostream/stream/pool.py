"""The render workers as Ray actors: made or joined by name, warmed side by side, watched for loss."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
import uuid
from typing import TYPE_CHECKING, Any

import ray
import ray.exceptions

from nanostream.errors import StreamError
from nanostream.stream import cluster
from nanostream.stream.actor import Failure, RecipeText, RenderActor, Reply, packed
from nanostream.stream.engine import Ticket, import_path
from nanostream.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from nanostream.stream.engine import Build, StreamRecipe, Synthesizer

__all__ = ["Lost", "Pool", "Worker"]

_RETRY_SECONDS = 0.1
_RETRY_MOST_SECONDS = 5.0
_DEATHS_IN_A_ROW = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Lost:
    """What comes in place of a reply from a worker that has gone."""

    reason: str


@dataclasses.dataclass(slots=True, eq=False)
class Worker:
    """One render worker as its consumer sees it."""

    name: str
    handle: Any
    ready: bool = False
    warming: Any = None
    retry_at: float = 0.0
    deaths: int = 0
    asked: int = 0


class Pool:
    """Render workers of one recipe. The process that made them ends them; others only join."""

    def __init__(self, connection: cluster.Cluster, workers: list[Worker], *, owner: bool) -> None:
        self._connection: cluster.Cluster | None = connection
        self._owner = owner
        self._pid = os.getpid()
        self.workers = workers
        self.build: Build | None = None
        self.warm_due()

    @classmethod
    def start(
        cls,
        recipe: StreamRecipe,
        *,
        workers: int,
        synth: str | Callable[..., Synthesizer],
        address: str | None,
        num_cpus: float,
        num_gpus: float,
    ) -> Pool:
        """New workers; fewer than asked for, with a warning, where Ray has fewer free CPUs."""
        text = RecipeText(import_path(type(recipe)), recipe.dump(), recipe.hash)
        factory = synth if isinstance(synth, str) else packed(synth)
        connection = cluster.acquire(address)
        made: list[Worker] = []
        try:
            count = cluster.free_workers(workers, num_cpus=num_cpus)
            actor: Any = ray.remote(concurrency_groups={"health": 1})(RenderActor)  # type: ignore[reportCallIssue]
            token = uuid.uuid4().hex[:12]
            for number in range(count):
                name = f"render-{token}-{number}"
                handle = actor.options(
                    name=name,
                    namespace=cluster.NAMESPACE,
                    num_cpus=num_cpus,
                    num_gpus=num_gpus,
                    max_restarts=-1,
                    max_task_retries=0,
                ).remote(text, factory)
                made.append(Worker(name, handle))
        except BaseException:
            cls(connection, made, owner=True).close()
            raise
        return cls(connection, made, owner=True)

    @classmethod
    def join(cls, ticket: Ticket) -> Pool:
        """The workers of another process's pool; StreamError where they are gone."""
        connection = cluster.acquire(ticket.address)
        try:
            handles = [ray.get_actor(name, namespace=cluster.NAMESPACE) for name in ticket.names]
        except Exception as error:
            cluster.release(connection)
            msg = (
                "expected the render workers of the process that started this one, got none "
                f"({error}); keep its dataset open"
            )
            raise StreamError(msg) from error
        workers = [Worker(name, handle) for name, handle in zip(ticket.names, handles, strict=True)]
        return cls(connection, workers, owner=False)

    @property
    def ticket(self) -> Ticket:
        """What another process needs to join."""
        assert self._connection is not None
        return Ticket(self._connection.address, tuple(worker.name for worker in self.workers), cluster.authentication())

    def ask(self, worker: Worker, flight: str, seed: int, lease: range) -> Any:
        """Ask a worker for a lease; returns what `poll` knows the reply by."""
        worker.asked += 1
        return worker.handle.render.remote(flight, seed, (lease.start, lease.stop, lease.step))

    def forget(self, flight: str) -> None:
        """Tell all workers that nobody waits for a flight any more."""
        # Ray starts a new cluster of its own accord when it is used after its end.
        for worker in self.workers if ray.is_initialized() else ():
            with contextlib.suppress(Exception):
                worker.handle.forget.options(concurrency_group="health").remote(flight)

    def poll(self, asked: Collection[Any], timeout: float) -> tuple[list[tuple[Any, Reply | Lost]], bool]:
        """Replies that are there, and whether anything moved; waits up to `timeout` s for the first.

        Workers that are warm become ready here; raises BackendError and the like where they cannot.
        """
        if self._connection is None or not ray.is_initialized():
            msg = "expected an open pool of render workers, got a closed one; end the iteration before close()"
            raise StreamError(msg)
        self.warm_due()
        warming = {worker.warming: worker for worker in self.workers if worker.warming is not None}
        references = [*asked, *warming]
        if not references:
            time.sleep(timeout)
            return [], False
        there, _ = ray.wait(references, num_returns=len(references), timeout=0)
        if not there and timeout > 0:
            there, _ = ray.wait(references, num_returns=1, timeout=timeout)
        replies = []
        for reference in there:
            if reference in warming:
                self._warmed(warming[reference], _get(reference))
            else:
                replies.append((reference, _get(reference)))
        return replies, bool(there)

    def lost(self, worker: Worker) -> None:
        """Note that a worker has gone; Ray starts it again, and it is ready once it is warm."""
        if worker.ready:
            metrics().worker_restarts.inc()
        worker.ready = False
        self._gauge()

    def warm_due(self) -> None:
        """Ask every worker that is not ready to warm up, but not too often."""
        now = time.monotonic()
        for worker in self.workers:
            if not worker.ready and worker.warming is None and now >= worker.retry_at:
                worker.warming = worker.handle.warm.remote()

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
        """End the workers where this process made them; give Ray back."""
        connection, self._connection = self._connection, None
        if connection is None or self._pid != os.getpid():
            return
        if self._owner:
            for worker in self.workers if ray.is_initialized() else ():
                with contextlib.suppress(Exception):
                    ray.kill(worker.handle, no_restart=True)
        self.workers = []
        self._gauge()
        cluster.release(connection)

    def _warmed(self, worker: Worker, outcome: Build | Failure | Lost) -> None:
        worker.warming = None
        if isinstance(outcome, Lost):
            worker.deaths += 1
            worker.retry_at = time.monotonic() + min(_RETRY_MOST_SECONDS, _RETRY_SECONDS * 2**worker.deaths)
            if all(not w.ready and w.deaths >= _DEATHS_IN_A_ROW for w in self.workers):
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

    def _gauge(self) -> None:
        metrics().workers_alive.set(sum(worker.ready for worker in self.workers))


def _get(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        return Failure(type(error).__name__, str(error.cause), ours=False)
    except ray.exceptions.RayError as error:
        # Whatever else Ray reports (actor, node, owner or object gone) means: ask again elsewhere.
        return Lost(" ".join(str(error).split())[:300])
