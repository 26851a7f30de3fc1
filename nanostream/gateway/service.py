"""Everything that a gateway holds: its pool behind a desk, what it keeps, and who may come in."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import pathlib
import shutil
import tempfile
import time
from typing import TYPE_CHECKING, Any

from nanostream.errors import StreamError
from nanostream.formats.codec import dump_json
from nanostream.formats.provenance import versions
from nanostream.gateway.desk import Desk
from nanostream.gateway.gate import Gate
from nanostream.gateway.here import Here
from nanostream.gateway.larder import Larder
from nanostream.gateway.menu import Menu
from nanostream.gateway.order import OrderSynth
from nanostream.gateway.shards import Shards
from nanostream.telemetry import StreamCounters

if TYPE_CHECKING:
    from nanostream.gateway.config import GatewayConfig
    from nanostream.gateway.order import Offer
    from nanostream.gateway.workers import DeskPool
    from nanostream.stream.engine import Build

__all__ = ["Service"]


class Service:
    """A context manager: workers start when it is made, and are gone when it is closed."""

    def __init__(self, config: GatewayConfig) -> None:
        self.config = config
        limits = config.limits
        self._temporary: str | None = None
        folder = config.cache
        if folder is None:
            self._temporary = tempfile.mkdtemp(prefix="nanostream-gateway-")
            folder = pathlib.Path(self._temporary)
        with contextlib.ExitStack() as undo:
            undo.callback(self._remove_temporary)
            counters = StreamCounters()
            self.desk = Desk(_pool(config, counters), counters)
            undo.callback(self.desk.close)
            workers = max(1, config.workers if isinstance(config.workers, int) else config.workers[1])
            rooms = limits.rooms_a_worker * workers
            waiting = {"per_client": limits.per_client, "queue": limits.queue, "wait_seconds": limits.wait_seconds}
            self.singles = Gate(rooms=rooms, **waiting)
            self.bulk = Gate(rooms=max(2, rooms // 4), **waiting)
            self.streams = Gate(rooms=limits.streams, **{**waiting, "queue": 0})
            self.larder = Larder(
                self.desk, self.singles, limit_bytes=limits.memory_bytes, render_seconds=limits.render_seconds
            )
            self.shards = Shards(
                folder,
                self.desk,
                self.larder,
                self.bulk,
                limit_bytes=config.cache_bytes,
                render_seconds=limits.render_seconds,
            )
            undo.pop_all()
        self.menu = Menu(config.recipes, variants=config.allow_recipes)
        self.began = time.monotonic()
        self.draining = False
        self.prefix = functools.lru_cache(maxsize=256)(self._prefix)

    async def build(self) -> Build:
        """What renders; waits for the first worker to be warm. Raises what keeps it, or StreamError."""
        until = time.monotonic() + self.config.limits.render_seconds
        while self.desk.build is None:
            if self.desk.failure is not None:
                raise self.desk.failure
            if time.monotonic() > until or self.draining:
                msg = "expected a render worker that is ready, got none yet; ask again later"
                raise StreamError(msg)
            await asyncio.sleep(0.02)
        return self.desk.build

    def tag(self, offer: Offer, *what: object) -> str:
        """Hexadecimal digits that differ wherever the bytes of `what` of an offer could."""
        return hashlib.sha256("\n".join([self.prefix(offer), *map(str, what)]).encode()).hexdigest()[:32]

    def close(self) -> None:
        """End the workers and remove what was only for now."""
        self.draining = True
        self.desk.close()
        self.shards.close()
        self._remove_temporary()

    def _prefix(self, offer: Offer) -> str:
        build = self.desk.build
        assert build is not None
        codec: dict[str, Any] = versions()
        told = {"recipe": offer.hash, "build": build.hash, "backend": build.backend, "codec": codec}
        return hashlib.sha256(dump_json(told)).hexdigest()[:32]

    def _remove_temporary(self) -> None:
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)


def _pool(config: GatewayConfig, counters: StreamCounters) -> DeskPool:
    first = config.recipes[0]
    synth = functools.partial(OrderSynth, synth=config.synth)
    if config.workers == 0:
        return Here(first, synth)  # type: ignore[arg-type]  # an OrderSynth also takes what a Desk adds
    from nanostream.stream.crew import Terms
    from nanostream.stream.pools import start_pool
    from nanostream.stream.scale import span

    return start_pool(
        Terms.of(first, synth, num_cpus=1.0, num_gpus=0.0),  # type: ignore[arg-type]  # as above
        span=span(config.workers),
        name=None if config.pool is None else f"gateway-{config.pool}",
        address=config.address,
        most_resident_bytes=4 << 30,
        counters=counters,
    )
