"""What samples cost at prices that the user looks up: arithmetic on measured rates.

Legend: p = price of a machine an hour, w = render workers that run on it, r = samples/s of one worker.

    cost of 1,000 samples = 1000 p / (3600 w r)
"""

from __future__ import annotations

import dataclasses
import math

from nanostream.errors import StreamError

__all__ = ["Price", "cost_table", "parse_price"]

_THOUSAND, _HOUR = 1000, 3600


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a machine costs an hour, in whatever currency, and how many render workers it runs."""

    name: str
    hourly: float
    workers: int

    def of_a_thousand(self, worker_rate: float) -> float:
        """Cost of 1,000 samples, where each worker renders `worker_rate` samples/s."""
        return _THOUSAND * self.hourly / (_HOUR * self.workers * worker_rate)


def parse_price(text: str) -> Price:
    """The price of a text such as "16 cores=0.68/16": name, price an hour, render workers.

    Raises StreamError for any other text.
    """
    name, _, figures = text.rpartition("=")
    hourly, _, workers = figures.partition("/")
    try:
        price = Price(name=name.strip(), hourly=float(hourly), workers=int(workers))
    except ValueError:
        price = Price(name="", hourly=0.0, workers=0)
    if not price.name or not 0 <= price.hourly < math.inf or price.workers < 1:
        msg = f"expected a price such as '16 cores=0.68/16' (name, price an hour, render workers), got {text!r}"
        raise StreamError(msg)
    return price


def cost_table(prices: list[Price], *, worker_rate: float) -> str:
    """Markdown: a row a price."""
    lines = ["| machine | an hour | workers | samples/s | 1,000 samples |", "|---|--:|--:|--:|--:|"]
    lines += [
        f"| {price.name} | {price.hourly:g} | {price.workers} | {price.workers * worker_rate:.0f} "
        f"| {price.of_a_thousand(worker_rate):.4f} |"
        for price in prices
    ]
    return "\n".join(lines)
