"""Samples/s of one to N local render workers that take turns, as a training receives them."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import time
import warnings
from typing import TYPE_CHECKING, Any

from nanostream.dataset import StreamingDataset
from nanostream.stream.engine import SYNTH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nanostream.stream.engine import StreamRecipe, Synthesizer

__all__ = ["Scaled", "measure_scaling", "table"]

WINDOWS = 5
_BATCH = 8
"""As many as a lease holds: smaller batches would come in bursts."""


@dataclasses.dataclass(slots=True, kw_only=True)
class Scaled:
    """What so many workers delivered. rates: samples/s in each window of each round; ratios: of the round's first."""

    workers: int
    rates: list[float] = dataclasses.field(default_factory=list)
    ratios: list[float] = dataclasses.field(default_factory=list)
    first_seconds: list[float] = dataclasses.field(default_factory=list)

    @property
    def rate(self) -> float:
        """Median samples/s."""
        return statistics.median(self.rates)

    @property
    def efficiency(self) -> float:
        """Median share of so many times the first number's rate in the same round."""
        return statistics.median(self.ratios)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self) | {"rate": self.rate, "efficiency": self.efficiency}


def measure_scaling(
    recipe: StreamRecipe,
    numbers: Sequence[int],
    *,
    seconds: float = 10.0,
    rounds: int = 3,
    seed: int = 0,
    synth: str | Callable[..., Synthesizer] = SYNTH,
) -> list[Scaled]:
    """For each number of workers, in turn and `rounds` times, what they deliver in five windows.

    seconds: of each turn. Raises StreamError or RenderError where a pool does not render.
    """
    found = [Scaled(workers=number) for number in numbers]
    for turn in range(rounds):
        base = 0.0
        for one in found:
            first, rates = _deliver(recipe, one.workers, seconds=seconds, seed=seed + turn, synth=synth)
            one.first_seconds.append(first)
            one.rates += rates
            each = statistics.median(rates) / one.workers
            base = base or each
            one.ratios.append(each / base)
    return found


def table(found: list[Scaled]) -> str:
    """Markdown: a row for each number of workers."""
    lines = [
        "| workers | samples/s | least to greatest | of as many times the first row | first batch |",
        "|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {one.workers} | {one.rate:.1f} | {min(one.rates):.1f} to {max(one.rates):.1f} | {one.efficiency:.1%} "
        f"| {statistics.median(one.first_seconds):.1f} s |"
        for one in found
    ]
    return "\n".join(lines)


def _deliver(
    recipe: StreamRecipe, workers: int, *, seconds: float, seed: int, synth: str | Callable[..., Synthesizer]
) -> tuple[float, list[float]]:
    """Seconds to the first batch, and samples/s in five windows, once what was prefetched is taken."""
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with StreamingDataset(
            recipe, seed=seed, batch_size=_BATCH, engine="ray", workers=workers, synth=synth
        ) as dataset:
            stream = iter(dataset)
            next(stream)
            first = time.perf_counter() - began
            for _ in itertools.islice(stream, 3 * workers):
                pass
            rates = []
            for _ in range(WINDOWS):
                began, taken = time.perf_counter(), 0
                while (passed := time.perf_counter() - began) < seconds / WINDOWS or not taken:
                    taken += len(next(stream)["index"])
                rates.append(taken / passed)
    return first, rates
