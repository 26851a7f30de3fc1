"""A dataset's engine: opened when it is needed, named for child processes, and never carried through a fork."""

from __future__ import annotations

import contextlib
import multiprocessing.context
import multiprocessing.process
import os
import warnings
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from nanostream.errors import StateError, StreamError
from nanostream.stream.choose import choose_engine, open_engine
from nanostream.stream.engine import Build, fork_error
from nanostream.telemetry import StreamCounters

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanostream.stream.engine import Engine, StreamRecipe, Synthesizer, Ticket
    from nanostream.stream.plan import Share
    from nanostream.stream.scale import Workers
    from nanostream.telemetry import StreamStats

__all__ = ["Source"]


class _Settings(TypedDict):
    engine: str
    workers: int | tuple[int, int] | Workers
    address: str | None
    pool: str | None
    synth: str | Callable[..., Synthesizer]
    timeout_seconds: float


class Source:
    """Recipe, seed and the engine for both; settings as for `choose.open_engine`.

    Pickled for a child process that is being started, it opens a Ray engine here and takes the
    names of its workers along; a forked child that would need Ray gets ForkError.
    """

    def __init__(
        self,
        recipe: StreamRecipe,
        *,
        seed: int,
        engine: str,
        workers: int | tuple[int, int] | Workers,
        address: str | None,
        pool: str | None,
        synth: str | Callable[..., Synthesizer],
        timeout_seconds: float,
    ) -> None:
        self.recipe = recipe
        self.seed = seed
        self._settings: _Settings = {
            "engine": engine,
            "workers": workers,
            "address": address,
            "pool": pool,
            "synth": synth,
            "timeout_seconds": timeout_seconds,
        }
        self._kind()
        self._engine: Engine | None = None
        self._ticket: Ticket | None = None
        self._expected: tuple[Build, bool] | None = None
        self._pid = os.getpid()
        self._closed = False

    def check(self) -> None:
        """Raise StreamError if closed, ForkError in a forked process that would need Ray."""
        if self._closed:
            msg = "expected an open dataset, got a closed one; make a new one and load its state"
            raise StreamError(msg)
        if os.getpid() != self._pid and self._kind() == "ray":
            raise fork_error()

    def engine(self, share: Share | None = None) -> Engine:
        """The engine, opened if it is not; `share` says which of several consumers this is."""
        self.check()
        if self._engine is None and self._ticket is not None:
            # A fork server that began before Ray did hands on an environment that lacks these, and
            # Ray reads them when it is imported.
            os.environ.update(self._ticket.authentication)
            from nanostream.stream.ray import RayEngine

            self._engine = RayEngine(
                self.recipe,
                seed=self.seed,
                ticket=self._ticket,
                consumer=share.worker if share else 0,
                consumers=share.workers if share else 1,
                timeout_seconds=self._settings["timeout_seconds"],
            )
            _end_quietly(self._ticket)
        if self._engine is None:
            self._engine = open_engine(self.recipe, seed=self.seed, **self._settings)
        return self._engine

    def expect(self, build: Build, *, strict: bool) -> None:
        """Compare what renders with `build` as soon as it is known."""
        self._expected = build, strict

    def compare(self, build: Build) -> None:
        """Warn if another build was expected, or raise StateError if it had to be the same."""
        if self._expected is None:
            return
        (expected, strict), self._expected = self._expected, None
        if expected == build:
            return
        msg = (
            f"expected the state's build {expected.hash[:12]} ({expected.backend}), got {build.hash[:12]} "
            f"({build.backend}): samples may differ in single pixels; install what rendered the first part"
        )
        if strict:
            raise StateError(msg)
        warnings.warn(msg, stacklevel=3)

    @property
    def stats(self) -> StreamStats:
        """Counters of this process's engine, zeros where there is none."""
        return (StreamCounters() if self._engine is None else self._engine.counters).stats()

    def close(self) -> None:
        """End the engine; more calls do nothing."""
        self._closed = True
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_engine": None, "_ticket": None}
        starting = multiprocessing.context.get_spawning_popen() is not None
        if starting and not self._closed and self._kind() == "ray":
            from nanostream.stream.ray import RayEngine

            engine = self.engine()
            assert isinstance(engine, RayEngine)
            state["_ticket"] = engine.ticket
            state["_settings"] = {**self._settings, "engine": "ray"}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._pid = os.getpid()

    def _kind(self) -> Literal["local", "ray", "http"]:
        settings = self._settings
        return choose_engine(
            settings["engine"], workers=settings["workers"], address=settings["address"], pool=settings["pool"]
        )


def _end_quietly(ticket: Ticket) -> None:
    """Give a DataLoader worker its signal handlers back: Ray's print a stack and end it late.

    And have multiprocessing put its sockets into the folder of our Ray: a worker that is ended leaves them.
    """
    import torch.utils.data

    if torch.utils.data.get_worker_info() is not None:
        with contextlib.suppress(AttributeError):
            torch._C._set_worker_signal_handlers()  # noqa: SLF001 - what DataLoader itself calls
            if ticket.folder is not None:
                config: dict[str, Any] = multiprocessing.process.current_process()._config  # type: ignore[attr-defined]  # noqa: SLF001
                config.setdefault("tempdir", ticket.folder)
