"""What a gateway serves, to whom, and within what limits."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import TYPE_CHECKING

from nanostream.errors import StreamError
from nanostream.seeding import MAX_INDEX
from nanostream.stream.engine import SYNTH

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

    from nanostream.stream.engine import StreamRecipe, Synthesizer

__all__ = ["GatewayConfig", "Limits", "is_local"]

_LEAST_TOKEN = 16


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what clients may ask for, all together and each."""

    rooms_a_worker: int = 4
    """Requests for which one render worker is busy at a time; shards a quarter of that."""
    per_client: int = 16
    """Requests of one client's address for which workers are busy at a time."""
    queue: int = 128
    """Requests that may wait for room; more get 429."""
    wait_seconds: float = 10.0
    """How long a request may wait for room; then 429."""
    render_seconds: float = 60.0
    """How long a request waits for a sample; then 503."""
    streams: int = 64
    """Streams open at a time."""
    ahead: int = 256
    """Samples rendered ahead of a stream's reader, at most."""
    receipts: int = 64
    """Receipts in one request."""
    body_bytes: int = 64 << 10
    """Body of a request."""
    body_seconds: float = 10.0
    """How long a request's head, and its body, may take to come."""
    address_bytes: int = 2048
    """Path and query of a request."""
    memory_bytes: int = 256 << 20
    """Samples kept in memory."""
    drain_seconds: float = 3.0
    """How long requests may go on once the gateway is told to end."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """A gateway. Raises StreamError where it would let in everybody without being told to.

    token: what clients have to send as `Authorization: Bearer`. open: serve another address without one.
    workers: render workers in Ray; 0: one thread of this process, without Ray. address: of a Ray cluster.
    pool: name of workers there that several gateways share. shard_size: samples a shard.
    cache: folder for shards, kept; None: a temporary one. allow_recipes: variants within bounds, see knobs.py.
    """

    recipes: tuple[StreamRecipe, ...]
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    open: bool = False
    workers: int | tuple[int, int] = 1
    address: str | None = None
    pool: str | None = None
    synth: str | Callable[..., Synthesizer] = SYNTH
    shard_size: int = 1000
    cache: pathlib.Path | None = None
    cache_bytes: int = 4 << 30
    allow_recipes: bool = False
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        names = [recipe.name for recipe in self.recipes]
        if not names or len(set(names)) < len(names):
            msg = f"expected at least one recipe, each with a name of its own, got {names}"
            raise StreamError(msg)
        if self.token is not None and (len(self.token) < _LEAST_TOKEN or not self.token.isascii()):
            msg = f"expected a token of at least {_LEAST_TOKEN} ASCII characters, got {len(self.token)}; make another"
            raise StreamError(msg)
        if not is_local(self.host) and self.token is None and not self.open:
            msg = (
                f"expected a token to serve {self.host}, got none; put one into NANOSTREAM_TOKEN or name a file with "
                "--token-file, or let everybody in with --open"
            )
            raise StreamError(msg)
        if not 1 <= self.shard_size <= 100_000 or self.shard_size * 1_000_000 > MAX_INDEX:  # noqa: PLR2004
            msg = f"expected a shard_size from 1 to 100000, got {self.shard_size}"
            raise StreamError(msg)


def is_local(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
