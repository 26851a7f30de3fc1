"""How many render workers a Ray has room for."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING

import ray

from nanostream.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["free_workers", "most_workers"]

_TRIES = 50
_TRY_SECONDS = 0.1


def free_workers(wanted: int, needs: dict[str, float]) -> int:
    """How many workers that each need so much of Ray's resources there is room for now, at most `wanted`.

    Warns where it is fewer; raises StreamError where there is room for none.
    """
    total = ray.cluster_resources()
    most, free = most_workers(wanted, needs), 0
    # Ray counts what actors held that have just ended as taken for a moment.
    for _ in range(_TRIES):
        free = _count(wanted, needs, ray.available_resources())
        if free >= most:
            break
        time.sleep(_TRY_SECONDS)
    kinds = " and ".join(f"{name}s" for name in needs)
    if free < 1:
        asked = " and ".join(f"{amount:g} free {name}" for name, amount in needs.items())
        there = " and ".join(f"{total.get(name, 0.0):g} {name}s" for name in needs)
        msg = (
            f"expected {asked} in Ray for at least one render worker, got {there} in all, too few or taken; end other "
            "work there, use engine='local', or, where the cluster grows by itself, workers=(least, most)"
        )
        raise StreamError(msg)
    if free < wanted:
        msg = f"{wanted} render workers were asked for and Ray has free {kinds} for {free}: going on with {free}"
        warnings.warn(msg, stacklevel=2)
    return free


def most_workers(wanted: int, needs: dict[str, float]) -> int:
    """How many of them there can be while the cluster is as large as it is, at most `wanted`."""
    return _count(wanted, needs, ray.cluster_resources())


def _count(wanted: int, needs: dict[str, float], there: Mapping[str, float]) -> int:
    # A hundredth of a worker for what fractions lose.
    return min([wanted, *(int(there.get(name, 0.0) / amount + 0.01) for name, amount in needs.items())])
