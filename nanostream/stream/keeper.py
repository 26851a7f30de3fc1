"""Keeps the workers of a pool that several consumers share: hires, ends, counts who is still there.

`Keeper` knows nothing of Ray: what hires and ends a worker is passed in. `KeeperActor` runs one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from nanostream.stream.scale import Measured, Scale, decide

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanostream.stream.crew import Terms

__all__ = ["Keeper", "KeeperActor", "Names", "Report"]

_PERIOD_SECONDS = 2.0
_GONE_SECONDS = 45.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one consumer saw since its last report; `using`: workers that it still waits for."""

    seconds: float
    wait_seconds: float
    render_seconds: float
    ready: int
    using: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Names:
    """Who the workers are, how many there should be, and how many consumers share them."""

    workers: tuple[str, ...]
    wanted: int
    consumers: int


class Keeper:
    """The roster of one pool, from `least` to `most` workers.

    A worker that is no longer wanted leaves the roster at once, and ends when no consumer waits for it.
    A consumer that has not reported for 45 s is gone.
    """

    def __init__(
        self,
        *,
        least: int,
        most: int,
        hire: Callable[[int], str],
        end: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._least, self._most = least, most
        self._hire, self._fire, self._clock = hire, end, clock
        self._scale = Scale(least)
        self._hired = 0
        self._names: list[str] = []
        self._leaving: dict[str, set[str]] = {}
        self._seen: dict[str, float] = {}
        self._reports: dict[str, Report] = {}
        self._decided_at = clock()
        self._fit()

    def join(self, consumer: str) -> Names:
        """A consumer comes, or says that it is still there."""
        self._seen[consumer] = self._clock()
        return Names(tuple(self._names), self._scale.wanted, len(self._seen))

    def report(self, consumer: str, report: Report) -> Names:
        """A consumer says what it saw, and learns who the workers are."""
        self._reports[consumer] = report
        for name, waiting in list(self._leaving.items()):
            if name not in report.using:
                waiting.discard(consumer)
            if not waiting:
                del self._leaving[name]
                self._fire(name)
        self._decide()
        return self.join(consumer)

    def leave(self, consumer: str) -> int:
        """A consumer goes; returns how many stay."""
        self._seen.pop(consumer, None)
        self._reports.pop(consumer, None)
        for waiting in self._leaving.values():
            waiting.discard(consumer)
        return len(self._seen)

    def expire(self) -> int:
        """Let go of consumers that have fallen silent; returns how many stay."""
        for consumer, seen_at in list(self._seen.items()):
            if self._clock() - seen_at > _GONE_SECONDS:
                self.leave(consumer)
        return len(self._seen)

    def _decide(self) -> None:
        now = self._clock()
        reports = [report for report in self._reports.values() if report.seconds > 0]
        if self._least == self._most or now - self._decided_at < _PERIOD_SECONDS or not reports:
            return
        self._decided_at = now
        alive = max(report.ready for report in reports)
        busy = sum(report.render_seconds / report.seconds for report in reports) / max(1, alive)
        measured = Measured(
            starved_share=min(1.0, max(report.wait_seconds / report.seconds for report in reports)),
            busy_share=min(1.0, busy),
            alive=alive,
        )
        self._scale = decide(self._scale, measured, least=self._least, most=self._most)
        self._fit()

    def _fit(self) -> None:
        while len(self._names) < self._scale.wanted:
            self._names.append(self._hire(self._hired))
            self._hired += 1
        while len(self._names) > self._scale.wanted:
            self._leaving[self._names.pop()] = set(self._seen)


class KeeperActor:
    """A keeper in a Ray actor of its own; ends with its last consumer, and the workers end with it.

    Where it is lost Ray starts it again, and it hires anew; its consumers tell it of themselves.
    """

    def __init__(self, terms: Terms, span: tuple[int, int]) -> None:
        from nanostream.stream import crew

        self._handles: dict[str, Any] = {}
        token = uuid.uuid4().hex[:12]

        def hire(number: int) -> str:
            name = f"render-{token}-{number}"
            self._handles[name] = crew.hire(name, terms).handle
            return name

        self._terms = terms
        self._lock = threading.Lock()
        self._keeper = Keeper(least=span[0], most=span[1], hire=hire, end=self._end)
        self._began = time.monotonic()
        self._joined = False
        threading.Thread(target=self._watch, daemon=True).start()

    def join(self, consumer: str) -> tuple[str, Names]:
        """A consumer comes; returns the recipe's hash, and who the workers are."""
        with self._lock:
            self._joined = True
            return self._terms.recipe.hash, self._keeper.join(consumer)

    def report(self, consumer: str, report: Report) -> Names:
        """A consumer says what it saw, and learns who the workers are."""
        with self._lock:
            self._joined = True
            return self._keeper.report(consumer, report)

    def leave(self, consumer: str) -> int:
        """A consumer goes; returns how many stay. With the last one, this process ends."""
        with self._lock:
            return self._keeper.leave(consumer)

    def _end(self, name: str) -> None:
        import ray

        with contextlib.suppress(Exception):
            ray.kill(self._handles.pop(name), no_restart=True)

    def _watch(self) -> None:
        import ray

        myself = ray.get_runtime_context().current_actor
        while True:
            time.sleep(0.5)
            with self._lock:
                gone = self._keeper.expire() == 0 and (self._joined or time.monotonic() - self._began > _GONE_SECONDS)
                if gone:
                    for name in list(self._handles):
                        self._end(name)
                    # From any other end Ray would bring it back.
                    ray.kill(myself, no_restart=True)
                    return
