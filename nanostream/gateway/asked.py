"""What a request asks for, read with suspicion."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from nanostream.errors import NanostreamError, SampleIndexError, StreamError
from nanostream.gateway.live import while_there
from nanostream.seeding import check_seed

if TYPE_CHECKING:
    from starlette.requests import Request

    from nanostream.gateway.order import Offer
    from nanostream.gateway.service import Service

__all__ = [
    "CACHED",
    "RefusedError",
    "body_of",
    "byte_range",
    "client_of",
    "number",
    "place",
    "there",
    "unchanged",
    "within",
]

CACHED = {"cache-control": "private, max-age=3600"}
"""What never changes while libraries and recipe stay the same, and has an ETag that says so."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")
_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})")


class RefusedError(NanostreamError):
    """A request that is answered with an error's status."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


def place(request: Request) -> tuple[Service, Offer, int]:
    """Service, offer and seed of an address. Raises what is wrong with it."""
    service: Service = request.app.state.service
    if service.draining:
        msg = "expected a gateway that goes on, got one that ends; ask again later"
        raise StreamError(msg)
    offer = service.menu.find(request.path_params["recipe"])
    return service, offer, check_seed(number(request.path_params["seed"], "seed"))


def number(text: str, name: str) -> int:
    """A whole number without sign or leading zeros; raises SampleIndexError for anything else."""
    if not _NUMBER.fullmatch(text):
        msg = f"expected {name} to be a whole number from 0 to 2^53, got {text[:80]!r}"
        raise SampleIndexError(msg)
    return int(text)


def client_of(request: Request) -> str:
    """Address of the client."""
    return request.client.host if request.client else "-"


async def body_of(request: Request, *, media_type: str) -> bytes:
    """The body. Raises RefusedError for another type, one that is too large, and one that is late."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != media_type:
        msg = f"expected a body of type {media_type}"
        raise RefusedError(msg, status=415)
    limits = request.app.state.service.config.limits
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for data in request.stream():
                body += data
                if len(body) > limits.body_bytes:
                    msg = f"expected a body of at most {limits.body_bytes} bytes, got more"
                    raise RefusedError(msg, status=413)
    except TimeoutError:
        msg = f"expected the body within {limits.body_seconds:g} s, got only a part"
        raise RefusedError(msg, status=408) from None
    return bytes(body)


async def there(request: Request, work: Any) -> Any:
    """The outcome of some work, which is given up where the client goes away."""
    found = await while_there(request.receive, work)
    if found is None:
        msg = "expected a client that waits for its answer, got one that has gone"
        raise RefusedError(msg, status=499)
    return found


def unchanged(request: Request, tag: str) -> bool:
    """Whether the client has what the tag stands for."""
    told = request.headers.get("if-none-match")
    return told is not None and any(one.strip().removeprefix("W/") in {f'"{tag}"', "*"} for one in told.split(","))


def byte_range(request: Request, tag: str) -> tuple[int | None, int | None] | None:
    """First byte and last one that are asked for; None for the whole, and for what is no single range."""
    found = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if found is None or request.headers.get("if-range", f'"{tag}"') != f'"{tag}"':
        return None
    first, last = (int(text) if text else None for text in found.groups())
    if first is None:
        return None if last is None else (first, last)
    return None if last is not None and last < first else (first, last)


def within(part: tuple[int | None, int | None], size: int) -> tuple[int, int]:
    """A range's first byte, and the one behind its last, of a file of this size; none where they are the same."""
    first, last = part
    if first is None:
        return max(0, size - (last or 0)), size
    return first, size if last is None else min(size, last + 1)
