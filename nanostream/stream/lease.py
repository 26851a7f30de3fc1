"""One lease between asking and handing on, and how long to be patient with those who were asked."""

from __future__ import annotations

import collections
import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanostream.sample import Sample
    from nanostream.stream.worker import Worker

__all__ = ["Ask", "Lease", "Patience"]

_KEPT = 0.95


@dataclasses.dataclass(slots=True, eq=False)
class Ask:
    """A lease, or what was left of it, asked of one worker. number: in the order of asking."""

    lease: Lease
    worker: Worker
    indices: range
    number: int
    at: float
    hedge: bool


@dataclasses.dataclass(slots=True, eq=False)
class Lease:
    """A range of indices. left: those that no reply has brought yet. avoid: whose failure it was.

    number: of the lease in its stream, where somebody counts.
    """

    left: range
    number: int = 0
    samples: collections.deque[Sample] = dataclasses.field(default_factory=collections.deque)
    asks: list[Ask] = dataclasses.field(default_factory=list)
    losses: int = 0
    failures: int = 0
    avoid: Worker | None = None
    error: Exception | None = None

    @property
    def unasked(self) -> bool:
        """Whether it has to be asked of somebody: nobody has it, or only workers that are silent."""
        return bool(self.left) and self.error is None and all(ask.worker.suspect for ask in self.asks)

    def take(self, ask: Ask, samples: Sequence[Sample]) -> int:
        """Keep those samples of a reply that no other reply has brought; returns how many they are."""
        if not self.left:
            return 0
        fresh = samples[ask.indices.index(self.left[0]) :]
        self.samples.extend(fresh)
        self.left = self.left[len(fresh) :]
        return len(fresh)


class Patience:
    """How long a worker may be silent before its leases are asked of another one as well.

    `factor` times what the slowest lease of late took, but at least `least_seconds`; None until a
    lease was rendered. A slow one counts for half after 14 others.
    """

    def __init__(self, *, least_seconds: float = 0.5, factor: float = 4.0) -> None:
        self._least_seconds = least_seconds
        self._factor = factor
        self._slowest = 0.0

    def saw(self, samples: int, seconds: float) -> None:
        """Note how long a lease of so many samples took to render."""
        if samples:
            self._slowest = max(seconds / samples, _KEPT * self._slowest)

    def seconds(self, samples: int, *, consumers: int = 1) -> float | None:
        """How long a lease of so many samples may take where so many consumers share the workers."""
        if not self._slowest:
            return None
        return max(self._least_seconds, self._factor * self._slowest * samples * consumers)
