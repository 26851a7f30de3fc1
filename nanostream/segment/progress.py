"""Where a training stands, and the clock that says so."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Clock", "Progress"]

LOSS_STEPS = 100
"""Steps that the loss shown is averaged over."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a training stands."""

    start_seconds: float
    """Time until the first samples had come: a cluster and its render workers start."""
    seconds: float
    """Time of training since then, without pauses; of all runs of a training that was gone on with."""
    done: float
    """Share of the training that is over, 0 to 1."""
    step: int
    samples: int
    """Samples taken from the stream, the first ones included."""
    samples_per_second: float
    """Samples taken from the stream a second, since the first ones had come."""
    loss: float
    """Mean over the last hundred steps or so."""
    wait_seconds: float
    """Time since the first samples that was spent waiting for more."""

    @property
    def wait_share(self) -> float:
        """Share of the time since the first samples that was spent waiting for more."""
        return self.wait_seconds / self.seconds if self.seconds else 0.0


class Clock:
    """Counts the time, steps and samples of a training; starts when its first step can."""

    def __init__(self, *, begun: float, samples: int, before: Progress | None) -> None:
        """`begun`: when the start was asked for, of `time.perf_counter`. `before`: where to go on."""
        self._started = time.perf_counter()
        self._samples = samples
        self._seconds_before = before.seconds if before else 0.0
        self._wait_before = before.wait_seconds if before else 0.0
        self._paused = 0.0
        self.progress = before or Progress(
            start_seconds=self._started - begun,
            seconds=0.0,
            done=0.0,
            step=0,
            samples=samples,
            samples_per_second=0.0,
            loss=float("nan"),
            wait_seconds=0.0,
        )

    def step(self, *, loss: float, samples: int, wait_seconds: float, minutes: float, steps: int | None) -> Progress:
        """Where the training stands one step on; `wait_seconds` of this run, `steps` or else `minutes` end it."""
        before, run_seconds = self.progress, time.perf_counter() - self._started - self._paused
        seconds, step = self._seconds_before + run_seconds, before.step + 1
        mean = before.loss + (loss - before.loss) / min(step, LOSS_STEPS) if before.step else loss
        self.progress = Progress(
            start_seconds=before.start_seconds,
            seconds=seconds,
            done=min(step / steps if steps else seconds / (60.0 * minutes), 1.0),
            step=step,
            samples=samples,
            samples_per_second=(samples - self._samples) / run_seconds,
            loss=mean,
            wait_seconds=self._wait_before + wait_seconds,
        )
        return self.progress

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside is no training time."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._paused += time.perf_counter() - begun
