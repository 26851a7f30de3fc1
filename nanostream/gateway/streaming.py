"""The answer that does not end: frames of samples."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any

from nanostream.errors import RenderError, SampleIndexError
from nanostream.formats.frames import frame
from nanostream.gateway.asked import client_of, number, place
from nanostream.gateway.live import Answer, LiveResponse
from nanostream.gateway.order import Order
from nanostream.seeding import MAX_INDEX

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from starlette.requests import Request

    from nanostream.formats.encoded import Encoded
    from nanostream.gateway.service import Service

__all__ = ["stream"]

_MOST_BATCH = 65536
_FRAME_SAMPLES = 8
_BEAT_SECONDS = 5.0


async def stream(request: Request) -> Any:
    """Frames of samples without end, or up to `stop`: `batch` indices from `start` on, then from start + stride on."""
    service, offer, seed = place(request)
    known = {"start": 0, "stop": MAX_INDEX + 1, "batch": _MOST_BATCH, "stride": None}
    values: dict[str, Any] = {}
    for name, default in known.items():
        text = request.query_params.get(name)
        values[name] = default if text is None else number(text, name)
    start, stop, batch = values["start"], values["stop"], values["batch"]
    stride = batch if values["stride"] is None else values["stride"]
    if not 1 <= batch <= min(stride, _MOST_BATCH) or not 0 <= start <= stop <= MAX_INDEX + 1:
        msg = f"expected start up to stop, and a batch from 1 to its stride and {_MOST_BATCH}, got {values}"
        raise SampleIndexError(msg)
    build = await service.build()
    headers = {
        "content-type": "application/vnd.nanostream.frames",
        "cache-control": "no-store",
        "x-nanostream-recipe": offer.hash,
        "x-nanostream-build": build.hash,
    }
    # Neighbours, and single samples at an even distance, are one range: so a worker's lease may hold many.
    even = range(start, stop, stride if batch == 1 else 1) if batch in {1, stride} else None
    blocks = (
        iter([even]) if even is not None else (range(at, min(at + batch, stop)) for at in range(start, stop, stride))
    )
    order = Order(offer, seed, "zarr")

    @contextlib.asynccontextmanager
    async def answer() -> AsyncIterator[Answer]:
        async with service.streams.enter(client_of(request)):
            yield Answer(200, headers, _frames(service, order, blocks))

    return LiveResponse(answer)


async def _frames(service: Service, order: Order, blocks: Iterator[range]) -> AsyncGenerator[bytes]:
    wanted, planned = itertools.tee(blocks)
    cursor = itertools.chain.from_iterable(planned)
    behind = next(cursor, None)
    workers = max(1, len(service.desk.pool.workers))
    # What keeps the workers busy while frames travel, and what a reader that stops may cost.
    ahead = min(service.config.limits.ahead, max(16, 4 * workers * service.desk.lease_size))
    yield frame(next=behind)
    try:
        samples = service.larder.samples(order, wanted, ahead=ahead, beat_seconds=_BEAT_SECONDS)
        async with contextlib.aclosing(samples) as some:
            async for ready in some:
                for part in _cut(ready):
                    behind = next(itertools.islice(cursor, len(part) - 1, None), None) if part else behind
                    yield frame(part, next=behind)
                if service.draining:
                    return
    except RenderError as error:
        yield frame(next=behind, error=str(error), kind=type(error).__name__)
        return
    yield frame(next=behind, end=True)


def _cut(samples: list[Encoded]) -> Iterator[list[Encoded]]:
    if not samples:
        yield []
    for at in range(0, len(samples), _FRAME_SAMPLES):
        yield samples[at : at + _FRAME_SAMPLES]
