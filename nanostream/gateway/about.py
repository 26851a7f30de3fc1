"""The answers that hold no samples: the page, what is served, how it stands, health and metrics."""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json
import time
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, Response

from nanostream.gateway.knobs import knobs_of
from nanostream.gateway.openapi import document
from nanostream.gateway.store import SAMPLES
from nanostream.telemetry import metrics

if TYPE_CHECKING:
    from starlette.requests import Request

    from nanostream.gateway.order import Offer
    from nanostream.gateway.service import Service

__all__ = ["healthz", "live", "metrics_page", "openapi", "page", "readyz", "recipe", "recipes"]

_PAGE = {
    "": ("index.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "page.js": ("page.js", "text/javascript"),
}


async def page(request: Request) -> Response:
    """The live page and its two files."""
    name, media_type = _PAGE[request.url.path.removeprefix("/")]
    return Response(_file(name), media_type=media_type, headers={"cache-control": "no-cache"})


async def recipes(request: Request) -> Response:
    """What is served here."""
    service: Service = request.app.state.service
    build = await service.build()
    return JSONResponse({"recipes": [_described(service, one, build) for one in service.menu.offers.values()]})


async def recipe(request: Request) -> Response:
    """One recipe, or a variant of it: hashes, picture size, its whole text."""
    service: Service = request.app.state.service
    found = service.menu.find(request.path_params["recipe"])
    told = _described(service, found, await service.build())
    return JSONResponse({**told, "text": json.loads(found.recipe.dump())})


async def live(request: Request) -> Response:
    """How the gateway stands, for the page."""
    service: Service = request.app.state.service
    stats = service.desk.counters.stats()
    newest = [
        {"recipe": order.offer.name, "seed": order.seed, "index": index} for order, index in service.larder.newest
    ]
    return JSONResponse(
        {
            "seconds": time.monotonic() - service.began,
            "rendered": stats.samples_rendered,
            "delivered": stats.samples_delivered,
            "workers": {"ready": service.desk.ready_workers, "wanted": len(service.desk.pool.workers)},
            "rendering": service.singles.inside + service.bulk.inside,
            "waiting": service.singles.waiting + service.bulk.waiting,
            "streams": service.streams.inside,
            "starved": service.larder.starved,
            "cache_bytes": service.shards.nbytes,
            "newest": newest,
        },
        headers={"cache-control": "no-store"},
    )


async def healthz(request: Request) -> Response:  # noqa: ARG001 Starlette passes it
    """Whether the process answers."""
    return JSONResponse({"alive": True})


async def readyz(request: Request) -> Response:
    """Whether it can render."""
    service: Service = request.app.state.service
    ready = service.desk.ready_workers > 0 and not service.draining
    told = {"ready": ready, "workers": service.desk.ready_workers}
    return JSONResponse(told if ready else {**told, "error": _why(service)}, 200 if ready else 503)


async def metrics_page(request: Request) -> Response:
    """Prometheus's text of this process."""
    registries = (request.app.state.metrics.registry, metrics().registry)
    return Response(b"".join(map(generate_latest, registries)), media_type=CONTENT_TYPE_LATEST)


async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    service: Service = request.app.state.service
    return JSONResponse(document(list(service.menu.offers), token=service.config.token is not None))


def _why(service: Service) -> str:
    if service.draining:
        return "expected a gateway that goes on, got one that ends"
    return str(service.desk.failure or "expected a render worker that is ready, got none yet")


def _described(service: Service, one: Offer, build: Any) -> dict[str, Any]:
    height, width = one.shape
    return {
        "name": one.name,
        "recipe": one.hash,
        "build": build.hash,
        "backend": build.backend,
        "height": height,
        "width": width,
        "shard_size": service.config.shard_size,
        "zarr_samples": SAMPLES,
        "variants": service.menu.variants,
        "knobs": [dataclasses.asdict(knob) for knob in knobs_of(one.recipe)] if service.menu.variants else [],
    }


@functools.cache
def _file(name: str) -> bytes:
    return (importlib.resources.files("nanostream.gateway") / "page" / name).read_bytes()
