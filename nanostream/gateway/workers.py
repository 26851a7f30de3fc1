"""The workers behind a desk, whoever they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from nanostream.stream.actor import Failure, Reply
    from nanostream.stream.engine import Build
    from nanostream.stream.worker import Lost, Worker

__all__ = ["DeskPool"]


class DeskPool(Protocol):
    """What a desk needs of a pool: `stream.pool.Pool`, or `Here`."""

    workers: list[Worker]
    build: Build | None

    def ask(self, worker: Worker, flight: str, seed: int, lease: range, more: Mapping[str, Any] | None = None) -> Any:
        """Ask a worker for a lease; returns what `poll` knows the reply by."""
        ...

    def poll(self, asked: Collection[Any], timeout: float) -> tuple[list[tuple[Any, Reply | Failure | Lost]], bool]:
        """Replies that are there; waits up to `timeout` s for the first."""
        ...

    def heard(self, worker: Worker, reply: Reply) -> None:
        """Note a worker's reply."""
        ...

    def suspect(self, worker: Worker) -> None:
        """Note that a worker has been silent for too long."""
        ...

    def lost(self, worker: Worker) -> None:
        """Note that a worker has gone."""
        ...

    def forget(self, flight: str) -> None:
        """Tell the workers that nobody waits for a flight any more."""
        ...

    def close(self) -> None:
        """End the workers."""
        ...
