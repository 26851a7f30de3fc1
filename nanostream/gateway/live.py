"""Answers that go on while there is somebody to read them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine

    from starlette.types import Message, Receive, Scope, Send

__all__ = ["Answer", "LiveResponse", "while_there"]

_SEND_SECONDS = 600.0

_T = TypeVar("_T")
_log = logging.getLogger("nanostream.gateway")


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and body; a body that raises cuts the connection off."""

    status: int
    headers: dict[str, str]
    body: AsyncGenerator[bytes] | None = None


class LiveResponse:
    """An answer made while its context is held: what it opens is closed whatever becomes of the client.

    A client that reads nothing for ten minutes is cut off; a training that pauses so long connects again.
    """

    def __init__(self, answer: Callable[[], contextlib.AbstractAsyncContextManager[Answer]]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, unless the client goes away."""
        await while_there(receive, self._send(scope["method"], send))

    async def _send(self, method: str, send: Send) -> None:
        async with self._answer() as answer:
            headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers.items()]
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            if answer.body is not None and method != "HEAD":
                try:
                    async with contextlib.aclosing(answer.body) as body:
                        async for data in body:
                            async with asyncio.timeout(_SEND_SECONDS):
                                await send({"type": "http.response.body", "body": data, "more_body": True})
                except Exception as error:  # noqa: BLE001 - the head has gone out: all that is left is to cut it off
                    # Without the last chunk a client sees that something is missing.
                    _log.warning("an answer was cut off: %s", error or type(error).__name__)
                    return
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def while_there(receive: Callable[[], Awaitable[Message]], work: Coroutine[None, None, _T]) -> _T | None:
    """The outcome of some work, or None where the client went away meanwhile, with which the work ends."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
        return None
    finally:
        gone.cancel()
        task.cancel()


async def _gone(receive: Callable[[], Awaitable[Message]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
