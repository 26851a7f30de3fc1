"""How many render workers there should be: a pure function of measured numbers.

A consumer that waits the share s of its time would be served by 1 / (1 - s) times the workers. Workers
that render the share b of theirs could be b times as many. Between the two, nothing changes; nor does it
before a need has lasted, or while workers that were hired are not there yet.
"""

from __future__ import annotations

import dataclasses
import math

from nanostream.errors import StreamError

__all__ = ["Measured", "Scale", "decide", "span"]

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


def span(workers: int | tuple[int, int]) -> tuple[int, int]:
    """Least and most workers; raises StreamError unless 1 <= least <= most."""
    least, most = (workers, workers) if isinstance(workers, int) else workers
    if not 1 <= least <= most:
        msg = f"expected workers of at least 1, or (least, most), got {workers}"
        raise StreamError(msg)
    return least, most
