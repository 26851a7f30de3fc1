"""A gateway at an address: in this process until a signal ends it, or in a thread beside a test."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

import uvicorn

from nanostream.errors import StreamError
from nanostream.gateway.app import application
from nanostream.gateway.protocol import BoundedProtocol
from nanostream.gateway.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from nanostream.gateway.config import GatewayConfig

__all__ = ["serve", "serving"]

_BACKLOG = 1024
_START_SECONDS = 30.0
_ABORT_SECONDS = 0.05


def serve(config: GatewayConfig, *, started: Callable[[str], None]) -> Service:
    """Serve until SIGINT or SIGTERM; then let requests end, and end everything. started: called with the address.

    Returns the closed service. Raises StreamError where the address is taken or no worker can be hired.
    """
    listener = _listen(config)
    _allow_files()
    with contextlib.closing(listener):
        service = Service(config)
        # Once it is done uvicorn raises the signal again, for whoever had it before: nobody has to die of it.
        before = {one: signal.signal(one, _ignore) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            server = _server(config, service)
            started(_url(listener))
            server.run([listener])
        finally:
            service.close()
            for one, handler in before.items():
                signal.signal(one, handler)
    return service


@contextlib.contextmanager
def serving(config: GatewayConfig) -> Iterator[str]:
    """A gateway in a thread of this process; gives its address. For tests."""
    listener = _listen(config)
    with contextlib.closing(listener), contextlib.closing(Service(config)) as service:
        server = _server(config, service)
        thread = threading.Thread(target=server.run, args=([listener],), name="nanostream-gateway")
        thread.start()
        try:
            until = time.monotonic() + _START_SECONDS
            while not server.started and thread.is_alive() and time.monotonic() < until:
                time.sleep(0.01)
            yield _url(listener)
        finally:
            service.draining = server.should_exit = True
            thread.join()


class _Server(uvicorn.Server):
    """Tells the service when it is told to end, so that streams do."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: what a client does not read is dropped once the time to drain is over."""
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()  # type: ignore[union-attr]  # each has one while it is in the list
        # Transports close in the loop's next turns.
        await asyncio.sleep(_ABORT_SECONDS)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.draining = True
        super().handle_exit(sig, frame)


def _server(config: GatewayConfig, service: Service) -> _Server:
    settings = uvicorn.Config(
        application(service),
        http=BoundedProtocol,
        ws="none",
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        # What a client says of other addresses would let it pass for other clients.
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(config.limits.drain_seconds),
        backlog=_BACKLOG,
    )
    return _Server(settings, service)


def _listen(config: GatewayConfig) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        msg = f"expected an address to serve, got {config.host}:{config.port} ({error}); name another --host"
        raise StreamError(msg) from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        msg = f"expected a free port, got {config.host}:{config.port} ({error.strerror}); name another --port"
        raise StreamError(msg) from error
    return listener


def _allow_files() -> None:
    """Let this process have as many files and connections open as the system allows it."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"


def _ignore(signum: int, frame: FrameType | None) -> None:
    """Nothing: whoever raised it has seen to it."""
