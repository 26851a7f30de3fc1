"""How many render workers there should be: a pure function of measured numbers.

A consumer that waits the share s of its time would be served by 1 / (1 - s) times the workers. Workers
that render the share b of theirs could be b times as many. Between the two, nothing changes; nor does it
before a need has lasted, or while workers that were hired are not there yet.
"""

from __future__ import annotations

import dataclasses
import math

from nanostream.errors import StreamError

__all__ = ["Measured", "Scale", "Workers", "decide", "span"]

_STARVED = 0.02
_GROW_PERIODS = 2
_SHRINK_PERIODS = 5
_SPARE = 1.25


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one period showed.

    starved_share: of the time of the consumer that waited most, from 0 to 1. busy_share: of the time of
    the workers, spent rendering, from 0 to 1. alive: workers that are ready.
    """

    starved_share: float
    busy_share: float
    alive: int


@dataclasses.dataclass(frozen=True, slots=True)
class Scale:
    """Workers wanted, and for how many periods there have been too few or too many."""

    wanted: int
    few_periods: int = 0
    many_periods: int = 0


def decide(scale: Scale, measured: Measured, *, least: int, most: int) -> Scale:
    """The scale after one more period; `wanted` at most doubles and stays from `least` to `most`."""
    wanted = min(most, max(least, scale.wanted))
    if measured.alive < wanted:
        return Scale(wanted)
    if measured.starved_share > _STARVED:
        if scale.few_periods + 1 < _GROW_PERIODS:
            return Scale(wanted, few_periods=scale.few_periods + 1)
        # What waits for something else than workers keeps them idle: more of them would not help.
        useful = math.ceil(wanted * measured.busy_share * 2)
        share = min(0.5, measured.starved_share)
        return Scale(max(wanted, min(most, math.ceil(wanted / (1 - share)), useful)))
    needed = max(least, math.ceil(wanted * measured.busy_share * _SPARE))
    if needed < wanted:
        if scale.many_periods + 1 < _SHRINK_PERIODS:
            return Scale(wanted, many_periods=scale.many_periods + 1)
        return Scale(needed)
    return Scale(wanted)


@dataclasses.dataclass(frozen=True, slots=True)
class Workers:
    """From `least` to `most` render workers, None for as many as `least`, and what Ray sets aside for each.

    num_gpus may be a fraction: 0.25 puts four workers on one GPU, each with all of its memory before it.
    """

    least: int = 1
    most: int | None = None
    num_cpus: float = dataclasses.field(default=1.0, kw_only=True)
    num_gpus: float = dataclasses.field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        """Raise StreamError unless 1 <= least <= most and they take nothing less than nothing."""
        if not 1 <= self.least <= self.span[1]:
            msg = f"expected workers of at least 1, or (least, most), got {self.least} and {self.most}"
            raise StreamError(msg)
        if self.num_cpus < 0 or self.num_gpus < 0:
            msg = f"expected num_cpus and num_gpus of at least 0, got {self.num_cpus} and {self.num_gpus}"
            raise StreamError(msg)

    @classmethod
    def of(cls, workers: int | tuple[int, int] | Workers) -> Workers:
        """The same from a number, or from the least and the most."""
        if isinstance(workers, Workers):
            return workers
        return cls(workers) if isinstance(workers, int) else cls(*workers)

    @property
    def span(self) -> tuple[int, int]:
        """Least and most."""
        return self.least, self.least if self.most is None else self.most


def span(workers: int | tuple[int, int] | Workers) -> tuple[int, int]:
    """Least and most workers; raises StreamError unless 1 <= least <= most."""
    return Workers.of(workers).span
