"""Samples that were rendered of late, and those that are being rendered: nobody renders one twice."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from typing import TYPE_CHECKING, Any, TypeVar

from nanostream.errors import StreamError
from nanostream.gateway.job import Job

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from nanostream.formats.encoded import Encoded
    from nanostream.gateway.desk import Desk
    from nanostream.gateway.gate import Gate
    from nanostream.gateway.order import Order

__all__ = ["Larder"]

_T = TypeVar("_T")

_NEWEST = 12
_NEWEST_SECONDS = 0.5
_OVERHEAD_BYTES = 512


class Larder:
    """What is kept in memory, and the way to what is not.

    limit_bytes: of what is kept. render_seconds: StreamError after so long without a sample.
    """

    def __init__(self, desk: Desk, gate: Gate, *, limit_bytes: int, render_seconds: float) -> None:
        self._desk = desk
        self._gate = gate
        self._limit_bytes = limit_bytes
        self._render_seconds = render_seconds
        self._kept: collections.OrderedDict[Any, tuple[Any, int]] = collections.OrderedDict()
        self.kept_bytes = 0
        self.starved = 0
        self._under_way: dict[Any, asyncio.Task[Any]] = {}
        self._newest: collections.deque[tuple[Order, int]] = collections.deque(maxlen=_NEWEST)
        self._noted_at = 0.0

    @property
    def newest(self) -> list[tuple[Order, int]]:
        """Orders and indices that were rendered last, the newest first; at most two a second are noted."""
        return list(self._newest)

    def kept(self, key: Any) -> Any:
        """What is kept under a key, or None."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def keep(self, key: Any, value: Any, nbytes: int) -> None:
        """Keep a value; what was used least of late goes."""
        _, before = self._kept.pop(key, (None, 0))
        self._kept[key] = value, nbytes + _OVERHEAD_BYTES
        self.kept_bytes += nbytes + _OVERHEAD_BYTES - before
        while self.kept_bytes > self._limit_bytes:
            _, (_, gone) = self._kept.popitem(last=False)
            self.kept_bytes -= gone

    async def once(self, key: Any, make: Callable[[], Awaitable[tuple[_T, int]]]) -> _T:
        """What is kept under a key, or what `make` gives, with its bytes; made once for all who ask meanwhile."""
        found = self.kept(key)
        if found is not None:
            return found
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.ensure_future(self._made(key, make))
            self._under_way[key] = task
            task.add_done_callback(lambda done: (self._under_way.pop(key), done.cancelled() or done.exception()))
        return await asyncio.shield(task)

    async def _made(self, key: Any, make: Callable[[], Awaitable[tuple[_T, int]]]) -> _T:
        value, nbytes = await make()
        self.keep(key, value, nbytes)
        return value

    async def sample(self, order: Order, index: int, *, client: str) -> Encoded:
        """The encoded sample of one index. Raises BusyError, StreamError or RenderError."""

        async def rendered() -> tuple[Encoded, int]:
            wanted = self.samples(order, [range(index, index + 1)], ahead=1)
            async with self._gate.enter(client), contextlib.aclosing(wanted) as samples:
                async for some in samples:
                    for one in some:
                        return one, one.nbytes
            msg = f"expected sample {index}, got none; ask again"
            raise StreamError(msg)

        key = (order.offer.hash, order.seed, index, order.format)
        return await self.once(key, rendered)

    async def samples(
        self, order: Order, indices: Iterable[range], *, ahead: int, beat_seconds: float | None = None
    ) -> AsyncGenerator[list[Encoded]]:
        """Encoded samples in order, as they come; closing it gives the rest up.

        ahead: samples to have rendered beyond those taken. beat_seconds: an empty list whenever none
        came for so long. Raises RenderError at a sample that cannot be rendered, and StreamError.
        """
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[list[Encoded] | Exception | None] = asyncio.Queue()

        def deliver(item: list[Encoded] | Exception | None) -> None:
            # The loop may have ended while its jobs are told so.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(queue.put_nowait, item)

        job = Job(order, indices, ahead=ahead, deliver=deliver)
        self._desk.submit(job)
        try:
            silent_since = time.monotonic()
            while True:
                left = silent_since + self._render_seconds - time.monotonic()
                try:
                    item = await self._next(queue, min(left, beat_seconds or left))
                except TimeoutError:
                    if time.monotonic() >= silent_since + self._render_seconds:
                        msg = f"expected a sample within {self._render_seconds:g} s, got none; ask again later"
                        raise StreamError(msg) from self._desk.failure
                    yield []
                    continue
                if item is None:
                    return
                if isinstance(item, Exception):
                    raise item
                silent_since = time.monotonic()
                self.note(order, item[-1])
                yield item
                self._desk.consumed(job, len(item))
                silent_since = time.monotonic()
        finally:
            self._desk.cancel(job)

    async def _next(self, queue: asyncio.Queue[Any], seconds: float) -> Any:
        if not queue.empty():
            return queue.get_nowait()
        self.starved += 1
        try:
            return await asyncio.wait_for(queue.get(), max(0.01, seconds))
        finally:
            self.starved -= 1

    def note(self, order: Order, one: Encoded) -> None:
        """Keep a sample for the page, unless there was one just now."""
        now = time.monotonic()
        if now - self._noted_at < _NEWEST_SECONDS or (order, one.index) in self._newest:
            return
        self._noted_at = now
        self._newest.appendleft((order, one.index))
        self.keep((order.offer.hash, order.seed, one.index, order.format), one, one.nbytes)
