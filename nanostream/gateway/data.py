"""The answers that hold shards and chunks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from nanostream.gateway.asked import CACHED, byte_range, client_of, place, there, unchanged, within
from nanostream.gateway.live import Answer, LiveResponse
from nanostream.gateway.menu import UnknownError
from nanostream.gateway.order import Order
from nanostream.gateway.pictures import decoded
from nanostream.gateway.store import column_chunk, hierarchy, index_chunk, place_of
from nanostream.seeding import check_index

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

__all__ = ["shard", "zarr_chunk"]

_SHARD = re.compile(r"([0-9]{1,12})\.tar")


async def shard(request: Request) -> Any:
    """A WebDataset shard; streamed while it is rendered, unless its length is asked for."""
    service, offer, seed = place(request)
    found = _SHARD.fullmatch(request.path_params["shard"])
    size = service.config.shard_size
    number = int(found[1]) if found else -1
    # One name a shard: the one that an export gives it.
    if found is None or f"{number:06d}" != found[1]:
        msg = f"expected a shard such as 000042.tar, got {request.path_params['shard'][:80]!r}"
        raise UnknownError(msg)
    check_index((number + 1) * size - 1)
    await service.build()
    tag = service.tag(offer, "shard", seed, number, size)
    headers = {"etag": f'"{tag}"', "accept-ranges": "bytes", "content-type": "application/x-tar", **CACHED}
    if unchanged(request, tag):
        return Response(status_code=304, headers=headers)
    part = byte_range(request, tag)
    order = Order(offer, seed, "webdataset")
    indices = range(number * size, (number + 1) * size)

    @contextlib.asynccontextmanager
    async def answer() -> AsyncIterator[Answer]:
        async with service.shards.open(tag, order, indices, client=client_of(request)) as growing:
            # Either the whole, or at least a first sample: until then it can still be an error.
            await growing.until(None if part or request.method == "HEAD" else 1)
            length = growing.size
            if part is None or length is None:
                more = {} if length is None else {"content-length": str(length)}
                yield Answer(200, {**headers, **more}, growing.read(0, length))
                return
            start, stop = within(part, length)
            if start >= stop:
                yield Answer(416, {**headers, "content-range": f"bytes */{length}", "content-length": "0"})
                return
            more = {"content-range": f"bytes {start}-{stop - 1}/{length}", "content-length": str(stop - start)}
            yield Answer(206, {**headers, **more}, growing.read(start, stop))

    return LiveResponse(answer)


async def zarr_chunk(request: Request) -> Response:
    """A metadata document or a chunk of the virtual Zarr store."""
    service, offer, seed = place(request)
    path = request.path_params["path"]
    build = await service.build()
    where = place_of(path)
    tag = service.tag(offer, "zarr", seed, path)
    headers = {"etag": f'"{tag}"', **CACHED}
    if where is None:
        key = (offer.hash, seed, "hierarchy")
        about = {"recipe": json.loads(offer.text.text), "recipe_hash": offer.hash, "build_hash": build.hash}
        about |= {"backend": build.backend, "seed": seed}

        async def written() -> tuple[dict[str, bytes], int]:
            made = await asyncio.to_thread(hierarchy, shape=offer.shape, about=about)
            return made, sum(map(len, made.values()))

        document = (await service.larder.once(key, written)).get(path)
        if document is None:
            msg = f"expected a document or a chunk of the Zarr store, got {path[:80]!r}, which is none"
            raise UnknownError(msg)
        return Response(document, media_type="application/json", headers=headers)
    if unchanged(request, tag):
        return Response(status_code=304, headers=headers)
    array, row = where
    if array == "index":
        return Response(index_chunk(row), media_type="application/octet-stream", headers=headers)
    one = await there(request, service.larder.sample(Order(offer, seed, "zarr"), row, client=client_of(request)))
    if array in {"image", "mask"}:
        content = one.fields[array]
    else:
        content = column_chunk(decoded(one, "zarr"), array.removeprefix("particles/"))
    return Response(content, media_type="application/octet-stream", headers=headers)
