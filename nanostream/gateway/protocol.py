"""HTTP/1.1 as uvicorn reads it, with what it leaves open: how long a request may be in coming, and how large."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

__all__ = ["BoundedProtocol"]

_HEAD_BYTES = 32 << 10
_HEAD_SECONDS = 15.0
_BODY_SECONDS = 30.0
_MOST_CONNECTIONS = 4096
_TOO_MANY = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """Ends a connection whose request's head or body is too slow, whose head is too large, or that is one too many."""

    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self._wait(_HEAD_SECONDS)
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.write(_TOO_MANY)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self._wait(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of it have come."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > _HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._wait(_HEAD_SECONDS)

    def on_headers_complete(self) -> None:
        """Its head is there."""
        self._in_head = False
        self._wait(_BODY_SECONDS)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """It is there."""
        self._wait(None)
        self._in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def _wait(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._timer = self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()
