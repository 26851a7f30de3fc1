"""Which engine, by name; Ray is imported only where it is the one."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Literal

from nanostream.errors import StreamError
from nanostream.stream.engine import SYNTH
from nanostream.stream.scale import Workers, span

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanostream.stream.engine import Engine, StreamRecipe, Synthesizer

__all__ = ["EngineName", "choose_engine", "open_engine"]

EngineName = Literal["auto", "local", "ray", "http"]


def choose_engine(
    engine: str, *, workers: int | tuple[int, int] | Workers = 1, address: str | None = None, pool: str | None = None
) -> Literal["local", "ray", "http"]:
    """The engine that `auto` stands for: `ray` with a cluster, a pool or more than one worker, else `local`.

    A cluster is one that `address` or RAY_ADDRESS names, or that this process already holds.
    """
    _, most = span(workers)
    if engine == "ray":
        return "ray"
    if engine in {"local", "http"}:
        if most > 1 or address is not None or pool is not None:
            msg = (
                f"expected one worker, no address and no pool with engine={engine!r}, "
                f"got {workers}, {address!r} and {pool!r}; use 'ray'"
            )
            raise StreamError(msg)
        return "local" if engine == "local" else "http"
    if engine != "auto":
        msg = f"expected engine 'auto', 'local', 'ray' or 'http', got {engine!r}"
        raise StreamError(msg)
    ray = sys.modules.get("ray")
    held = ray is not None and ray.is_initialized()
    return "ray" if most > 1 or address or pool or os.environ.get("RAY_ADDRESS") or held else "local"


def open_engine(
    recipe: StreamRecipe,
    *,
    seed: int = 0,
    engine: str = "auto",
    workers: int | tuple[int, int] | Workers = 1,
    address: str | None = None,
    pool: str | None = None,
    synth: str | Callable[..., Synthesizer] = SYNTH,
    timeout_seconds: float = 300.0,
) -> Engine:
    """An engine by name, open; close it, or use it as a context manager."""
    chosen = choose_engine(engine, workers=workers, address=address, pool=pool)
    if chosen == "local":
        from nanostream.stream.local import LocalEngine

        return LocalEngine(recipe, seed=seed, synth=synth)
    if chosen == "http":
        from nanostream.stream.http import HttpEngine

        return HttpEngine(recipe, seed=seed, timeout_seconds=timeout_seconds)
    from nanostream.stream.ray import RayEngine

    return RayEngine(
        recipe, seed=seed, workers=workers, pool=pool, address=address, synth=synth, timeout_seconds=timeout_seconds
    )
