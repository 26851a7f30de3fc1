"""A long training on a stream, and what it does to throughput, memory, file handles and render workers."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from typing import TYPE_CHECKING, Any

from nanostream.bench.chart import lines
from nanostream.errors import StreamError
from nanostream.segment.run import train_on_recipe
from nanostream.segment.training import Pause, Training, TrainingConfig
from nanostream.stream.actor import resident_bytes
from nanostream.telemetry import metrics

if TYPE_CHECKING:
    from nanostream.recipe import Recipe

__all__ = ["Mark", "Soak", "chart", "soak", "table"]

_MARKS = 60
_LEAST_MARKS = 8


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How things stood once."""

    seconds: float
    """Since the training's first step."""
    samples: int
    """Samples taken from the stream."""
    wait_seconds: float
    """Time that the training waited."""
    resident_bytes: int
    """Of the training's process."""
    workers_bytes: int
    """Of the render workers, as they last said."""
    handles: int
    """Open file handles of the training's process."""
    restarts: int
    """Render workers started again."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """What a soak left: at least eight marks."""

    workers: int
    marks: tuple[Mark, ...]

    def rate(self, quarter: int) -> float:
        """Samples/s in a quarter of the time, 0 to 3."""
        first, last = self._edges(quarter)
        return (last.samples - first.samples) / (last.seconds - first.seconds)

    def waited(self, quarter: int) -> float:
        """Share of a quarter's time that the training waited."""
        first, last = self._edges(quarter)
        return (last.wait_seconds - first.wait_seconds) / (last.seconds - first.seconds)

    def end(self, quarter: int) -> Mark:
        """How things stood at the end of a quarter."""
        return self._edges(quarter)[1]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "workers": self.workers,
            "throughput_drift": self.rate(3) / self.rate(1) - 1,
            "memory_growth_bytes": self.end(3).resident_bytes - self.end(1).resident_bytes,
            "workers_growth_bytes": self.end(3).workers_bytes - self.end(1).workers_bytes,
            "handles_growth": self.end(3).handles - self.end(1).handles,
            "restarts": self.end(3).restarts,
            "marks": [dataclasses.asdict(mark) for mark in self.marks],
        }

    def _edges(self, quarter: int) -> tuple[Mark, Mark]:
        last = len(self.marks) - 1
        return self.marks[last * quarter // 4], self.marks[last * (quarter + 1) // 4]


def soak(recipe: Recipe, *, minutes: float, workers: int | None = None, seed: int = 0, engine: str = "ray") -> Soak:
    """Train for so many minutes on the recipe's stream, and look sixty times.

    workers: render workers; they and the threads of torch share the cores. Raises what `train_on_recipe` raises, and
    StreamError where it is too short for eight looks.
    """
    marks: list[Mark] = []
    restarts_before = _restarts()

    def look(training: Training) -> None:
        progress = training.progress
        marks.append(
            Mark(
                seconds=time.monotonic() - began[0] if marks else 0.0,
                samples=training.window.samples,
                wait_seconds=progress.wait_seconds,
                resident_bytes=resident_bytes(),
                workers_bytes=int(_value(metrics().resident_bytes)),
                handles=sum(1 for _ in pathlib.Path("/proc/self/fd").iterdir()),
                restarts=_restarts() - restarts_before,
            )
        )
        if len(marks) == 1:
            began.append(time.monotonic())

    began: list[float] = []
    config = TrainingConfig(minutes=minutes, seed=seed)
    pause = Pause(seconds=60 * minutes / _MARKS, do=look)
    run = train_on_recipe(recipe, config, workers=workers, engine=engine, fresh=1, pauses=[pause])
    if len(marks) < _LEAST_MARKS:
        msg = f"expected a soak of at least {_LEAST_MARKS} steps, got {run.progress.step}: give it more minutes"
        raise StreamError(msg)
    return Soak(workers=run.workers, marks=tuple(marks))


def table(found: Soak) -> str:
    """Markdown: a row a quarter, and what changed between the second and the last."""
    rows = [
        "| quarter | samples/s | training waits | memory | of the workers | file handles | restarts |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for quarter in range(4):
        end = found.end(quarter)
        rows.append(
            f"| {quarter + 1} | {found.rate(quarter):.1f} | {found.waited(quarter):.1%} "
            f"| {end.resident_bytes / 1e6:.0f} MB | {end.workers_bytes / 1e6:.0f} MB | {end.handles} | {end.restarts} |"
        )
    told = found.as_dict()
    rows.append(
        f"| 4 beside 2 | {told['throughput_drift']:+.1%} | | {told['memory_growth_bytes'] / 1e6:+.1f} MB "
        f"| {told['workers_growth_bytes'] / 1e6:+.1f} MB | {told['handles_growth']:+d} | |"
    )
    return "\n".join(rows)


def chart(found: Soak) -> str:
    """SVG: samples/s between marks, over minutes."""
    pairs = list(zip(found.marks, found.marks[1:], strict=False))
    rates = [(after.samples - before.samples) / (after.seconds - before.seconds) for before, after in pairs]
    minutes = [after.seconds / 60 for _, after in pairs]
    return lines(minutes, {"samples/s": rates}, title="Throughput of the soak", x_label="minutes")


def _restarts() -> int:
    return int(sum(sample.value for sample in _samples(metrics().worker_restarts) if sample.name.endswith("_total")))


def _value(gauge: Any) -> float:
    return sum(sample.value for sample in _samples(gauge))


def _samples(metric: Any) -> list[Any]:
    return [sample for family in metric.collect() for sample in family.samples]
