"""How many render workers feed a training, and what the next limit is: arithmetic on measured figures.

Legend: R = samples/s that the training takes, r = samples/s of one render worker, n = workers,
b = bytes of a sample's image and mask, c = seconds that a sample costs the process that takes it.

    n = ceil(R * SPARE / r)        bytes/s = R * b        one process takes at most 1 / c
"""

from __future__ import annotations

import dataclasses
import math

from nanostream.errors import StreamError

__all__ = ["BYTES_A_PIXEL", "Limit", "Measured", "Plan", "make_plan"]

BYTES_A_PIXEL = 3
"""An 8-bit image and a 16-bit mask."""

SPARE = 1.1
"""Workers to have beyond the mean: a pool that is just enough makes the training wait at every hiccup."""

_LINKS_GBIT = (1, 10, 25, 100)
_LEASE, _LEASES_A_WORKER = 8, 3
_MOST_IN_FLIGHT = 512 << 20
_HARD_SHARE = 0.8


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured on this machine."""

    unit: str
    """What one render worker occupies: "core" or "GPU"."""

    kind: str
    """Name of that processor."""

    units_here: int
    """How many of them this machine has."""

    backend: str
    """Mitsuba variant."""

    samples_per_second: float
    """Of one render worker."""

    taking_seconds: float
    """Processor time that one sample costs the process that takes it: fetched, put in order, collated."""

    resident_bytes: int
    """Memory that a render worker holds."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One thing that ends growth. samples_per_second: where; remedy: what to do there."""

    what: str
    samples_per_second: float
    remedy: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a training at `train_rate` needs; bytes are of images and masks as they travel."""

    train_rate: float
    workers: int
    machines: int
    sample_bytes: int
    network_bytes_per_second: float
    store_bytes_per_second: float
    in_flight_bytes: int
    memory_bytes: int
    ranks: int
    limits: tuple[Limit, ...]

    @property
    def next_limit(self) -> Limit | None:
        """The first limit above the rate that is planned for, where there is one."""
        above = [limit for limit in self.limits if limit.samples_per_second > self.train_rate]
        return min(above, key=lambda limit: limit.samples_per_second, default=None)


def make_plan(measured: Measured, *, train_rate: float, height: int, width: int) -> Plan:
    """The plan for a training that takes `train_rate` samples/s of height x width pixels.

    Raises StreamError unless the rate is above 0.
    """
    if not 0 < train_rate < math.inf:
        msg = f"expected a training rate above 0 samples/s, got {train_rate:g}"
        raise StreamError(msg)
    sample_bytes = BYTES_A_PIXEL * height * width
    # Rounded first: 400 * 1.1 / 20 is a little more than 22.
    workers = math.ceil(round(train_rate * SPARE / measured.samples_per_second, 9))
    here = measured.units_here * measured.samples_per_second / SPARE
    limits = [
        Limit(
            what=f"the {measured.units_here} {measured.unit}s of this machine",
            samples_per_second=here,
            remedy="join more machines to the Ray cluster",
        ),
        Limit(
            what="one training process that takes every sample itself",
            samples_per_second=1 / measured.taking_seconds,
            remedy="train with more ranks, or take batches in DataLoader workers (num_workers=2, spawn)",
        ),
    ]
    limits += [
        Limit(
            what=f"a link of {gbit} Gbit/s into the machine that trains",
            samples_per_second=_HARD_SHARE * gbit * 1e9 / 8 / sample_bytes,
            remedy="take a faster link, spread the ranks over machines, or render where the training runs",
        )
        for gbit in _LINKS_GBIT
    ]
    per_rank = _HARD_SHARE / measured.taking_seconds
    return Plan(
        train_rate=train_rate,
        workers=workers,
        machines=math.ceil(workers / measured.units_here),
        sample_bytes=sample_bytes,
        network_bytes_per_second=train_rate * sample_bytes,
        # A sample is written into the object store where it was rendered, and once more where it is taken.
        store_bytes_per_second=2 * train_rate * sample_bytes,
        in_flight_bytes=min(_MOST_IN_FLIGHT, _LEASES_A_WORKER * workers * _LEASE * sample_bytes),
        memory_bytes=workers * measured.resident_bytes,
        ranks=math.ceil(train_rate / per_rank),
        limits=tuple(limits),
    )
