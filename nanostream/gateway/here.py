"""One render worker in this process, with the interface of a pool: for a machine where Ray cannot run."""

from __future__ import annotations

import concurrent.futures
import time
from typing import TYPE_CHECKING, Any

from nanostream.stream.actor import Failure, RecipeText, RenderActor, Reply, packed
from nanostream.stream.engine import Build, import_path
from nanostream.stream.worker import Lost, Worker
from nanostream.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from nanostream.stream.engine import StreamRecipe, Synthesizer

__all__ = ["Here"]


class Here:
    """A thread that renders; it cannot be lost."""

    def __init__(self, recipe: StreamRecipe, synth: str | Callable[..., Synthesizer]) -> None:
        text = RecipeText(import_path(type(recipe)), recipe.dump(), recipe.hash)
        self._actor = RenderActor(text, synth if isinstance(synth, str) else packed(synth))
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "nanostream-render")
        self._warming = self._thread.submit(self._actor.warm)
        self.workers = [Worker("here", self._actor)]
        self.build: Build | None = None

    def ask(self, worker: Worker, flight: str, seed: int, lease: range, more: Mapping[str, Any] | None = None) -> Any:
        """As `Pool.ask`."""
        worker.asked += 1
        return self._thread.submit(self._actor.render, flight, seed, (lease.start, lease.stop, lease.step), more)

    def poll(self, asked: Collection[Any], timeout: float) -> tuple[list[tuple[Any, Reply | Failure | Lost]], bool]:
        """As `Pool.poll`; raises what kept the renderer from starting."""
        if self.build is None and self._warming.done():
            outcome = self._warming.result()
            if isinstance(outcome, Failure):
                self._warming = self._thread.submit(self._actor.warm)
                raise outcome.error()
            self.build, self.workers[0].ready = outcome, True
            metrics().workers_alive.set(1)
            metrics().workers_wanted.set(1)
        waiting = asked or ([self._warming] if self.build is None else [])
        if not waiting:
            time.sleep(timeout)
        done, _ = concurrent.futures.wait(waiting, timeout, return_when=concurrent.futures.FIRST_COMPLETED)
        return [(future, future.result()) for future in done if future in asked], bool(done)

    def heard(self, worker: Worker, reply: Reply) -> None:
        """As `Pool.heard`."""
        worker.suspect = False
        worker.resident_bytes = reply.resident_bytes

    def suspect(self, worker: Worker) -> None:
        """Nothing: nobody else could be asked."""

    def lost(self, worker: Worker) -> None:
        """Nothing: a thread of this process is not lost alone."""

    def forget(self, flight: str) -> None:
        """As `Pool.forget`."""
        self._actor.forget(flight)

    def close(self) -> None:
        """End the thread; what it renders is finished first."""
        self._thread.shutdown(cancel_futures=True)
        self.workers = []
