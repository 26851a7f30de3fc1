"""A shard that may still grow while it is read."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["Shard"]

_READ_BYTES = 1 << 20


class Shard:
    """A shard's file, open for reading. written: bytes that are there. size: of all, once that is known."""

    def __init__(self, descriptor: int, *, size: int | None) -> None:
        self._descriptor = descriptor
        self.size = size
        self.written = size or 0
        self.error: Exception | None = None
        self.readers = 0
        self.abandoned = False
        self._moved = asyncio.Event()

    def advance(self, written: int, *, size: int | None = None, error: Exception | None = None) -> None:
        """Tell the readers how far it has come, or how it ended."""
        self.written, self.size, self.error = written, size, error
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def until(self, written: int | None) -> None:
        """Wait until so many bytes are there, or the whole; raises what ended the rendering."""
        while self.size is None and (written is None or self.written < written):
            if self.error is not None:
                raise self.error
            await self._moved.wait()

    async def read(self, start: int, stop: int | None) -> AsyncGenerator[bytes]:
        """Bytes from `start` up to `stop`, or to the end, as they come."""
        while stop is None or start < stop:
            await self.until(start + 1)
            end = self.written if stop is None else min(stop, self.written)
            data = await asyncio.to_thread(os.pread, self._descriptor, min(_READ_BYTES, end - start), start)
            if not data:
                return
            start += len(data)
            yield data

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)
