"""What every request goes through: a number, a look at the token and the host, a line in the log."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
import uuid
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from nanostream.gateway.config import is_local

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from nanostream.gateway.config import GatewayConfig
    from nanostream.gateway.metrics import GatewayMetrics

__all__ = ["Guard", "refusal"]

_OPEN = {"/", "/page.css", "/page.js", "/healthz", "/readyz"}
"""What may be seen without a token: nothing here was rendered."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HOST = re.compile(rb"(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?")
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'",
    ),
]

_GONE = 499

_access = logging.getLogger("nanostream.access")
_log = logging.getLogger("nanostream.gateway")


class Guard:
    """Around the whole application; nothing gets in or out but through here."""

    def __init__(self, app: ASGIApp, config: GatewayConfig, metrics: GatewayMetrics) -> None:
        self._app = app
        self._token = None if config.token is None else config.token.encode()
        self._address_bytes = config.limits.address_bytes
        self._metrics = metrics
        # A page from elsewhere that the browser was told is at this address must not read from it.
        names = {b"localhost", b"127.0.0.1", b"[::1]", config.host.lower().encode(), b"testserver"}
        self._hosts = names if config.token is None and is_local(config.host) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        began, headers = time.perf_counter(), dict(scope["headers"])
        own = headers.get(b"x-request-id", b"")
        number = own if _REQUEST_ID.fullmatch(own) else uuid.uuid4().hex.encode()
        status, nbytes = 0, 0

        async def sending(message: Message) -> None:
            nonlocal status, nbytes
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_HEADERS, (b"x-request-id", number)]
            else:
                nbytes += len(message.get("body", b""))
            await send(message)

        try:
            refused = self._refused(scope, headers)
            await (refused or self._app)(scope, receive, sending)
        except asyncio.CancelledError:
            # Only the server's own end cancels a request.
            _log.warning("request %s was cut off, because the gateway ends", number.decode())
        except Exception:  # noqa: BLE001 - whatever it is, it goes to the log and not to the client
            _log.exception("request %s met an unexpected error", number.decode())
            if not status:
                await refusal(500, "expected to answer, met an unexpected error; its number is in the log")(
                    scope, receive, sending
                )
        finally:
            # Nobody hears an answer to a client that has gone.
            status = status or _GONE
            seconds = time.perf_counter() - began
            route = getattr(scope.get("endpoint"), "__name__", "none")
            self._metrics.answered(route, status, seconds, nbytes)
            if _access.isEnabledFor(logging.INFO):
                _access.info(
                    "%s %s %s %s %d %d %.1f ms",
                    number.decode(),
                    (scope.get("client") or ("-",))[0],
                    scope["method"],
                    # As it came, percent signs and all: it cannot break the line.
                    ascii(scope.get("raw_path", b"")[:300])[2:-1],
                    status,
                    nbytes,
                    1e3 * seconds,
                )

    def _refused(self, scope: Scope, headers: dict[bytes, bytes]) -> Response | None:
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > self._address_bytes:
            return refusal(414, f"expected an address of at most {self._address_bytes} bytes, got a longer one")
        if self._hosts is not None:
            found = _HOST.fullmatch(headers.get(b"host", b""))
            if found is None or found[1].lower() not in self._hosts:
                return refusal(400, "expected a request for this machine, got one for another host; use its own name")
        if self._token is not None and scope["path"] not in _OPEN:
            kind, _, token = headers.get(b"authorization", b"").partition(b" ")
            if kind.lower() != b"bearer" or not hmac.compare_digest(token.strip(), self._token):
                return refusal(
                    401,
                    "expected `Authorization: Bearer` with this gateway's token, got another or none",
                    headers={"www-authenticate": "Bearer"},
                )
        return None


def refusal(status: int, sentence: str, *, headers: dict[str, Any] | None = None) -> JSONResponse:
    """An error as JSON: one sentence."""
    return JSONResponse({"error": sentence}, status, headers=headers)
