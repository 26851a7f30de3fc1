"""How the processor's cores are shared between rendering and training."""

from __future__ import annotations

import os

__all__ = ["cores", "share_cores"]


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_cores(available: int | None = None) -> tuple[int, int]:
    """Render workers and threads of torch for this machine's cores: (workers, threads).

    Half each: with 10 crops a sample, a step takes about as long as rendering what it uses up, and
    threads of torch that are put off by render workers wait for each other at every layer.
    """
    available = available or cores()
    workers = max(1, available // 2)
    return workers, max(1, available - workers)
