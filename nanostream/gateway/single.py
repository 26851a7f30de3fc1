"""The answers that hold single samples: one by its index, some by their receipts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import msgpack
import pydantic
from starlette.responses import Response

from nanostream.gateway.asked import CACHED, RefusedError, body_of, client_of, number, place, there, unchanged
from nanostream.gateway.menu import UnknownError
from nanostream.gateway.order import Offer, Order
from nanostream.gateway.pictures import FORMS, PARTS, as_map, decoded, form
from nanostream.receipt import Receipt
from nanostream.seeding import check_index

if TYPE_CHECKING:
    from starlette.requests import Request

    from nanostream.gateway.service import Service
    from nanostream.sample import Sample

__all__ = ["replay", "sample", "sample_part"]

_Text = Annotated[str, pydantic.Field(max_length=1000)]


class _Wanted(pydantic.BaseModel, extra="forbid", strict=True):
    receipts: list[_Text] = pydantic.Field(min_length=1)
    recipes: list[_Text] = []
    """Variants among which a receipt's recipe may be."""
    strict: bool = False


async def sample(request: Request) -> Response:
    """A sample as two PNGs in a zip, npz or msgpack."""
    name = request.query_params.get("format", "png")
    if name not in FORMS:
        msg = f"expected a format, one of {', '.join(FORMS)}, got {name[:80]!r}"
        raise UnknownError(msg)
    return await _sample(request, name, FORMS[name])


async def sample_part(request: Request) -> Response:
    """A part of a sample: its image, its mask, the mask's colours, or what is known of it."""
    name = request.path_params["part"]
    if name not in PARTS:
        msg = f"expected a part of a sample, one of {', '.join(PARTS)}, got {name[:80]!r}"
        raise UnknownError(msg)
    return await _sample(request, name, PARTS[name])


async def _sample(request: Request, name: str, media_type: str) -> Response:
    service, offer, seed = place(request)
    index = check_index(number(request.path_params["index"], "index"))
    if service.desk.build is None:
        await service.build()
    tag = f"{service.prefix(offer)}-{seed}-{index}-{name}"
    headers = {"etag": f'"{tag}"', **CACHED}
    if unchanged(request, tag):
        return Response(status_code=304, headers=headers)
    key = (offer.hash, seed, index, name, "form")
    content = service.larder.kept(key)
    if content is None:

        async def made() -> tuple[bytes, int]:
            one = await _decoded(service, offer, seed, index, client_of(request))
            content = await asyncio.to_thread(form, one, name)
            return content, len(content)

        content = await there(request, service.larder.once(key, made))
    return Response(content, media_type=media_type, headers=headers)


async def _decoded(service: Service, offer: Offer, seed: int, index: int, client: str) -> Sample:
    # A sample that somebody's chunks or stream brought need not be rendered again.
    one = service.larder.kept((offer.hash, seed, index, "zarr"))
    if one is not None:
        return await asyncio.to_thread(decoded, one, "zarr")
    one = await service.larder.sample(Order(offer, seed, "webdataset"), index, client=client)
    return await asyncio.to_thread(decoded, one, "webdataset")


async def replay(request: Request) -> Response:
    """The samples of receipts, as msgpack."""
    service: Service = request.app.state.service
    try:
        wanted = _Wanted.model_validate_json(await body_of(request, media_type="application/json"))
    except pydantic.ValidationError as error:
        msg = f'expected a body such as {{"receipts": ["ns1:..."]}}, got one with {error.errors()[0]["msg"][:200]}'
        raise RefusedError(msg, status=400) from None
    most = service.config.limits.receipts
    if len(wanted.receipts) + len(wanted.recipes) > most:
        msg = f"expected at most {most} receipts and recipes, got more"
        raise RefusedError(msg, status=400)
    receipts = [Receipt.parse(text) for text in wanted.receipts]
    known = [*service.menu.offers.values(), *map(service.menu.find, wanted.recipes)]
    offers = {offer.hash: offer for offer in known}
    build = await service.build()
    for receipt in receipts:
        if receipt.recipe not in offers:
            msg = f"expected a receipt of a recipe that is served here, got {receipt.recipe[:12]}; name its recipe"
            raise UnknownError(msg)
        if wanted.strict and receipt.build != build.hash:
            msg = f"expected receipts of the build {build.hash[:12]}, got {receipt.build[:12]}; leave strict out"
            raise RefusedError(msg, status=409)

    async def again() -> bytes:
        some = [_decoded(service, offers[one.recipe], one.seed, one.index, client_of(request)) for one in receipts]
        samples = await asyncio.gather(*some)
        content = msgpack.packb({"build": build.hash, "samples": [as_map(one) for one in samples]})
        assert content is not None
        return content

    return Response(await there(request, again()), media_type="application/msgpack")
