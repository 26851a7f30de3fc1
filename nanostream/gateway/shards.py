"""WebDataset shards in a bounded folder: rendered when they are asked for, once, and read while they grow."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import fcntl
import itertools
import os
import queue
from typing import TYPE_CHECKING

from nanostream.errors import StoreError, StreamError
from nanostream.formats.disk import PARTIAL, sync_path, writing
from nanostream.formats.webdataset import write_tar
from nanostream.gateway.job import Job
from nanostream.gateway.shard import Shard

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator, Callable, Iterator

    from nanostream.formats.encoded import Encoded
    from nanostream.gateway.desk import Desk
    from nanostream.gateway.gate import Gate
    from nanostream.gateway.larder import Larder
    from nanostream.gateway.order import Order

__all__ = ["Shards"]

_FIRST_RESERVE_BYTES = 64 << 20


class Shards:
    """The folder. limit_bytes: of all shards in it, those that grow among them."""

    def __init__(
        self, folder: pathlib.Path, desk: Desk, larder: Larder, gate: Gate, *, limit_bytes: int, render_seconds: float
    ) -> None:
        self._folder = folder
        self._desk = desk
        self._larder = larder
        self._gate = gate
        self._limit_bytes = limit_bytes
        self._render_seconds = render_seconds
        self._threads = concurrent.futures.ThreadPoolExecutor(64, "nanostream-shard")
        self._growing: dict[str, Shard] = {}
        self._counter = itertools.count()
        self._largest = _FIRST_RESERVE_BYTES
        self._tasks: set[asyncio.Task[None]] = set()
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._lock)
                msg = f"expected a cache of this gateway's own, but another one uses {folder}: name another folder"
                raise StoreError(msg) from None
            for partial in folder.glob(f"*{PARTIAL}"):
                partial.unlink()
            found = sorted((path.stat().st_mtime, path.stem, path.stat().st_size) for path in folder.glob("*.tar"))
        self._sizes = collections.OrderedDict((name, size) for _, name, size in found)

    @property
    def nbytes(self) -> int:
        """Bytes in the folder, as far as they are known."""
        return sum(self._sizes.values()) + sum(shard.written for shard in self._growing.values())

    @contextlib.asynccontextmanager
    async def open(self, tag: str, order: Order, indices: range, *, client: str) -> AsyncIterator[Shard]:
        """The shard that the tag names, whole or growing. tag: hexadecimal digits, the only name on disk.

        Raises BusyError where there is no room to render it. A shard that nobody reads any more grows no more.
        """
        shard = self._growing.get(tag) or self._whole(tag)
        if shard is None:
            async with contextlib.AsyncExitStack() as stack:
                await stack.enter_async_context(self._gate.enter(client))
                # While this one waited for room, another may have come first.
                shard = self._growing.get(tag) or self._whole(tag)
                if shard is None:
                    shard = self._begin(tag, order, indices, stack.pop_all())
        shard.readers += 1
        try:
            yield shard
        finally:
            shard.readers -= 1
            if not shard.readers:
                if shard.size is None and shard.error is None:
                    shard.abandoned = True
                    if self._growing.get(tag) is shard:
                        del self._growing[tag]
                elif self._growing.get(tag) is not shard:
                    shard.close()

    def close(self) -> None:
        """Wait for the threads and let go of the folder; the desk must have ended."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        os.close(self._lock)

    def _whole(self, tag: str) -> Shard | None:
        size = self._sizes.get(tag)
        if size is None:
            return None
        try:
            descriptor = os.open(self._folder / f"{tag}.tar", os.O_RDONLY)
        except OSError:
            del self._sizes[tag]
            return None
        if os.fstat(descriptor).st_size != size:
            os.close(descriptor)
            del self._sizes[tag]
            return None
        self._sizes.move_to_end(tag)
        return Shard(descriptor, size=size)

    def _begin(self, tag: str, order: Order, indices: range, room: contextlib.AsyncExitStack) -> Shard:
        self._evict((1 + len(self._growing)) * self._largest)
        partial = self._folder / f"{tag}.{next(self._counter)}{PARTIAL}"
        with writing(partial):
            partial.touch(mode=0o600)
            shard = Shard(os.open(partial, os.O_RDONLY), size=None)
        self._growing[tag] = shard
        loop = asyncio.get_running_loop()

        async def grow() -> None:
            async with room:
                try:
                    size = await loop.run_in_executor(self._threads, self._write, partial, shard, order, indices, loop)
                except Exception as error:  # noqa: BLE001 - each reader is told
                    shard.advance(shard.written, error=error)
                else:
                    with contextlib.suppress(OSError):
                        partial.replace(self._folder / f"{tag}.tar")
                        self._sizes[tag] = size
                    self._largest = max(size, 1) if self._largest == _FIRST_RESERVE_BYTES else max(self._largest, size)
                    shard.advance(size, size=size)
                finally:
                    if self._growing.get(tag) is shard:
                        del self._growing[tag]
                    with contextlib.suppress(OSError):
                        partial.unlink(missing_ok=True)
                    if not shard.readers:
                        shard.close()
                    self._evict(len(self._growing) * self._largest)

        task = loop.create_task(grow())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return shard

    def _write(
        self, partial: pathlib.Path, shard: Shard, order: Order, indices: range, loop: asyncio.AbstractEventLoop
    ) -> int:
        """Write the whole shard, in a thread; returns its bytes."""
        with writing(partial), partial.open("wb") as file:

            def write(data: bytes) -> None:
                file.write(data)

            def advance(one: Encoded) -> None:
                file.flush()
                # The loop may have ended while its jobs are told so.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._grown, shard, file.tell(), order, one)

            write_tar(self._samples(shard, order, indices, advance), write)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        sync_path(partial.parent)
        return size

    def _grown(self, shard: Shard, written: int, order: Order, one: Encoded) -> None:
        shard.advance(written)
        self._larder.note(order, one)

    def _samples(
        self, shard: Shard, order: Order, indices: range, written: Callable[[Encoded], None]
    ) -> Iterator[Encoded]:
        """Samples as they come, each told `written` once it is."""
        items: queue.SimpleQueue[list[Encoded] | Exception | None] = queue.SimpleQueue()
        workers = max(1, len(self._desk.pool.workers))
        job = Job(order, [indices], ahead=4 * workers * self._desk.lease_size, deliver=items.put)
        self._desk.submit(job)
        try:
            while True:
                try:
                    item = items.get(timeout=self._render_seconds)
                except queue.Empty:
                    msg = f"expected a sample within {self._render_seconds:g} s, got none; ask again later"
                    raise StreamError(msg) from None
                if item is None:
                    return
                if isinstance(item, Exception):
                    raise item
                for one in item:
                    if shard.abandoned:
                        msg = "expected a reader of this shard, got none any more"
                        raise StreamError(msg)
                    yield one
                    written(one)
                self._desk.consumed(job, len(item))
        finally:
            self._desk.cancel(job)

    def _evict(self, reserve: int) -> None:
        total = sum(self._sizes.values())
        while self._sizes and total > max(0, self._limit_bytes - reserve):
            tag, size = self._sizes.popitem(last=False)
            total -= size
            with contextlib.suppress(OSError):
                (self._folder / f"{tag}.tar").unlink()
