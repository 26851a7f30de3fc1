"""The engine that renders in Ray actors, on this machine or on a cluster."""

from __future__ import annotations

import multiprocessing
import os
import weakref
from multiprocessing import util
from typing import TYPE_CHECKING

from nanostream.errors import StreamError
from nanostream.stream.crew import Terms
from nanostream.stream.engine import SYNTH, Build, Engine, Ticket, fork_error
from nanostream.stream.flight import Flight
from nanostream.stream.lease import Patience
from nanostream.stream.pools import join_pool, start_pool
from nanostream.stream.scale import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nanostream.sample import Sample
    from nanostream.stream.engine import StreamRecipe, Synthesizer

__all__ = ["RayEngine"]


class RayEngine(Engine):
    """Render workers as Ray actors, each with one renderer and one thread.

    workers: actors to start; fewer where Ray has no room for them, with a warning. (least, most): as many
    as the consumers need, by what they wait for, see scale.py; a cluster that was joined is asked for them
    all, so that its autoscaler adds nodes. `scale.Workers` says what each takes of CPUs and GPUs.
    pool: name of workers that several consumers on one cluster share: the first starts them, the last
    ends them, and all render one recipe.
    address: of a Ray cluster; None: the one this process holds, RAY_ADDRESS, or one started here.
    ticket: join the workers of another engine instead (its `ticket`); then they end with that one.
    in_flight: leases that each worker has at a time; one more a worker may wait for its turn, so
    at most (in_flight + 1) * workers leases, or `ahead` samples if more, are held at a time; and at
    most in_flight_bytes, but for two leases.
    most_resident_bytes: a worker that holds more memory is started again; None: never.
    consumer of consumers: which one this is of several processes that share the workers.
    timeout_seconds: StreamError after this long without any reply while somebody waits.
    """

    def __init__(
        self,
        recipe: StreamRecipe,
        *,
        seed: int = 0,
        workers: int | tuple[int, int] | Workers = 1,
        pool: str | None = None,
        address: str | None = None,
        ticket: Ticket | None = None,
        synth: str | Callable[..., Synthesizer] = SYNTH,
        in_flight: int = 2,
        in_flight_bytes: int = 512 << 20,
        most_resident_bytes: int | None = 4 << 30,
        consumer: int = 0,
        consumers: int = 1,
        timeout_seconds: float = 300.0,
    ) -> None:
        super().__init__()
        crew = Workers.of(workers)
        if in_flight < 1 or in_flight_bytes < 1 or timeout_seconds <= 0:
            msg = (
                "expected in_flight and in_flight_bytes of at least 1 and timeout_seconds above 0, "
                f"got {in_flight}, {in_flight_bytes} and {timeout_seconds}"
            )
            raise StreamError(msg)
        self._recipe = recipe
        self._seed = seed
        self._in_flight = in_flight
        self._in_flight_bytes = in_flight_bytes
        self._patience = Patience()
        self._consumer = consumer
        self._consumers = consumers
        self._timeout_seconds = timeout_seconds
        self._pid = os.getpid()
        if ticket is None:
            self._pool = start_pool(
                Terms.of(recipe, synth, num_cpus=crew.num_cpus, num_gpus=crew.num_gpus),
                span=crew.span,
                name=pool,
                address=address,
                most_resident_bytes=most_resident_bytes,
                counters=self.counters,
            )
        else:
            self._pool = join_pool(ticket, counters=self.counters)
        self._finalizer = weakref.finalize(self, self._pool.close)
        self._finalizer.atexit = False  # the end of Ray itself, see cluster.py, ends the workers too
        if multiprocessing.parent_process() is not None:
            # A child of multiprocessing runs these at its end, and not what atexit has registered.
            util.Finalize(self, self._pool.close, exitpriority=10)

    @property
    def build(self) -> Build:
        """What renders; waits for the first worker to be warm."""
        self._check_process()
        return self._pool.first_build(self._timeout_seconds)

    @property
    def workers(self) -> int:
        """Render workers of the pool."""
        return len(self._pool.workers)

    @property
    def ticket(self) -> Ticket:
        """What another process needs to join this engine's workers."""
        self._check_process()
        return self._pool.ticket

    def pids(self) -> list[int]:
        """Process numbers of the workers, for tests that end some."""
        self._check_process()
        return self._pool.pids()

    def close(self) -> None:
        """End the workers, and Ray where it was started here."""
        self._finalizer()

    def _render(self, leases: Iterable[range], ahead: int) -> Iterator[Sample]:
        self._check_process()
        yield from Flight(
            self._pool,
            leases,
            recipe=self._recipe,
            seed=self._seed,
            ahead=ahead,
            per_worker=self._in_flight,
            consumer=self._consumer,
            consumers=self._consumers,
            most_bytes=self._in_flight_bytes,
            patience=self._patience,
            timeout_seconds=self._timeout_seconds,
            counters=self.counters,
        ).samples()

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise fork_error()
        if not self._finalizer.alive:
            msg = "expected an open engine, got a closed one; open a new one"
            raise StreamError(msg)
