"""The routes, and what becomes of an error."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from nanostream.errors import NanostreamError, RecipeError, RenderError, SampleIndexError, StateError
from nanostream.gateway import about, data, single, streaming
from nanostream.gateway.asked import RefusedError
from nanostream.gateway.gate import BusyError
from nanostream.gateway.guard import Guard, refusal
from nanostream.gateway.menu import ForbiddenError, UnknownError
from nanostream.gateway.metrics import GatewayMetrics

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from nanostream.gateway.service import Service

__all__ = ["application"]

_STATUS: dict[type[NanostreamError], int] = {
    UnknownError: 404,
    ForbiddenError: 403,
    RecipeError: 400,
    SampleIndexError: 400,
    StateError: 400,
    RenderError: 500,
}
_LATER_SECONDS = 5
_PAUSE_SECONDS = 0.3, 0.7


def application(service: Service) -> ASGIApp:
    """The ASGI application of a service."""
    recipe = "/v1/{recipe}"
    routes = [
        Route(recipe + "/samples/{seed}/{index}", single.sample),
        Route(recipe + "/samples/{seed}/{index}/{part}", single.sample_part),
        Route(recipe + "/zarr/{seed}/{path:path}", data.zarr_chunk),
        Route(recipe + "/shards/{seed}/{shard}", data.shard),
        Route(recipe + "/stream/{seed}", streaming.stream),
        Route("/v1/replay", single.replay, methods=["POST"]),
        Route(recipe, about.recipe),
        Route("/v1", about.recipes),
        Route("/", about.page),
        Route("/page.css", about.page),
        Route("/page.js", about.page),
        Route("/live", about.live),
        Route("/healthz", about.healthz),
        Route("/readyz", about.readyz),
        Route("/metrics", about.metrics_page),
        Route("/openapi.json", about.openapi),
    ]
    handlers: dict[Any, Any] = {NanostreamError: _expected, BusyError: _busy, HTTPException: _http}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    app.state.service = service
    app.state.metrics = GatewayMetrics()
    app.state.metrics.watch(service)
    return Guard(app, service.config, app.state.metrics)


async def _expected(request: Request, error: NanostreamError) -> Response:  # noqa: ARG001 Starlette passes it
    if isinstance(error, RefusedError):
        # The rest of a body that is too long, or too slow, is not waited for.
        return refusal(error.status, str(error), headers={"connection": "close"})
    for kind in type(error).__mro__:
        if kind in _STATUS:
            return refusal(_STATUS[kind], str(error))
    # What is left has to do with this machine or its workers: the request itself was right.
    return refusal(503, str(error), headers={"retry-after": str(_LATER_SECONDS)})


async def _busy(request: Request, error: BusyError) -> Response:  # noqa: ARG001 as above
    # A client that asks again at once would keep this process busy with refusing it.
    await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))  # noqa: S311 - so that not all come back at once
    return refusal(429, str(error), headers={"retry-after": str(error.retry_seconds)})


async def _http(request: Request, error: HTTPException) -> Response:
    sentence = f"expected another address or method, got {request.method}: see /openapi.json"
    return refusal(error.status_code, sentence, headers=dict(error.headers or {}))
