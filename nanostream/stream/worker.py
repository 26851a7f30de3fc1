"""A render worker as its consumer sees it, and what comes back from one. Knows nothing of Ray."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

    from nanostream.stream.actor import Failure, Reply

__all__ = ["FlightPool", "Lost", "Worker"]


@dataclasses.dataclass(frozen=True, slots=True)
class Lost:
    """What comes in place of a reply from a worker that has gone."""

    reason: str


@dataclasses.dataclass(slots=True, eq=False)
class Worker:
    """One render worker.

    ready: warm, and may be asked. asked: leases that this consumer has asked of it.
    suspect: silent for longer than patience lasts; asked for nothing more until it replies.
    retiring: to be started again once nothing is asked of it, for its resident size.
    """

    name: str
    handle: Any
    ready: bool = False
    suspect: bool = False
    retiring: bool = False
    asked: int = 0
    heard_at: float = 0.0
    deaths: int = 0
    retry_at: float = 0.0
    warming: Any = None
    ping: Any = None
    pinged_at: float = 0.0
    resident_bytes: int = 0
    resident_at_first: int = 0

    @property
    def free(self) -> bool:
        """Whether it may be asked for more."""
        return self.ready and not self.suspect and not self.retiring

    def down(self) -> None:
        """Note that the process behind it has gone."""
        self.ready = self.suspect = self.retiring = False
        self.ping = None
        self.resident_bytes = self.resident_at_first = 0


class FlightPool(Protocol):
    """What a flight needs of a pool."""

    workers: list[Worker]

    @property
    def consumers(self) -> int:
        """How many consumers share the workers, as far as anybody counts them."""
        ...

    def ask(self, worker: Worker, flight: str, seed: int, lease: range) -> Any:
        """Ask a worker for a lease; returns what `poll` knows the reply by."""
        ...

    def poll(self, asked: Collection[Any], timeout: float) -> tuple[list[tuple[Any, Reply | Failure | Lost]], bool]:
        """Replies that are there, and whether anything moved; waits up to `timeout` s for the first."""
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
        """Tell all workers that nobody waits for a flight any more."""
        ...
