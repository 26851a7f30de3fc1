"""Room for renders: so many at once, so many a client, and a queue of bounded length and time."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["BusyError", "Gate"]


class BusyError(Exception):
    """No room, now or within the time that one may wait. retry_seconds: when to ask again."""

    def __init__(self, message: str, *, retry_seconds: int) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class Gate:
    """rooms: renders at once; per_client: of one client; queue: who may wait, for `wait_seconds` each."""

    def __init__(self, *, rooms: int, per_client: int, queue: int, wait_seconds: float) -> None:
        self._rooms = rooms
        self._per_client = per_client
        self._queue = queue
        self._wait_seconds = wait_seconds
        self._inside: collections.Counter[str] = collections.Counter()
        self._waiting: dict[asyncio.Future[None], str] = {}

    @property
    def inside(self) -> int:
        """How many are inside."""
        return self._inside.total()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @contextlib.asynccontextmanager
    async def enter(self, client: str) -> AsyncIterator[None]:
        """Room for one render of a client. Raises BusyError where the queue is full, or the wait too long."""
        await self._come(client)
        try:
            yield
        finally:
            self._go(client)

    async def _come(self, client: str) -> None:
        if self._fits(client):
            self._inside[client] += 1
            return
        if len(self._waiting) >= self._queue:
            msg = f"expected fewer requests at once, got {len(self._waiting)} that wait already; ask again later"
            raise BusyError(msg, retry_seconds=1)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = client
        try:
            # Those who came together do not all give up together.
            seconds = self._wait_seconds * random.uniform(0.8, 1)  # noqa: S311 - no secret
            await asyncio.wait_for(turn, seconds)
        except BaseException as error:
            self._waiting.pop(turn, None)
            if turn.done() and not turn.cancelled():
                # The turn came in the very moment in which the wait ended.
                self._go(client)
            if isinstance(error, TimeoutError):
                msg = f"expected room for a render within {self._wait_seconds:g} s, got none; ask again later"
                raise BusyError(msg, retry_seconds=2) from None
            raise

    def _fits(self, client: str) -> bool:
        return self.inside < self._rooms and self._inside[client] < self._per_client

    def _go(self, client: str) -> None:
        self._inside[client] -= 1
        if not self._inside[client]:
            del self._inside[client]
        while self.inside < self._rooms:
            # Who has least comes first, and of those who came first.
            # One whose wait has just ended is done, and takes itself off the list.
            free = [turn for turn, other in self._waiting.items() if self._fits(other) and not turn.done()]
            if not free:
                return
            turn = min(free, key=lambda turn: self._inside[self._waiting[turn]])
            self._inside[self._waiting.pop(turn)] += 1
            turn.set_result(None)
