"""`nanostream serve`: recipes as an endless data set over HTTP."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import Annotated

import tyro

__all__ = ["Serve"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Serve:
    """Serve samples, WebDataset shards and a Zarr store over HTTP, rendered when they are asked for.

    A token for clients is read from the environment variable NANOSTREAM_TOKEN or from --token-file.
    """

    recipes: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PRESET")]
    """Names of presets, or paths of recipe files (JSON)."""

    host: str = "127.0.0.1"
    """Address to serve; any but this machine's own needs a token, or --open."""

    port: int = 8000
    """Port to serve; 0 takes a free one."""

    workers: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Render workers, one for each CPU by default; 0: in this process, without Ray."""

    address: str | None = None
    """Ray cluster to render on, such as auto; by default this machine."""

    pool: str | None = None
    """Name of render workers on that cluster that several gateways share."""

    token_file: pathlib.Path | None = None
    """File that holds the token."""

    open: bool = False
    """Serve other machines without a token."""

    shard_size: int = 1000
    """Samples a shard."""

    cache: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder to keep shards in; by default a temporary one that goes with the server."""

    cache_size: Annotated[str, tyro.conf.arg(metavar="SIZE")] = "4GB"
    """Bytes of shards to keep."""

    memory: Annotated[str, tyro.conf.arg(metavar="SIZE")] = "256MB"
    """Bytes of samples to keep in memory."""

    allow_recipes: bool = False
    """Let clients vary a recipe's numbers, within bounds: NAME,FIELD=NUMBER where its name stands."""

    quiet: bool = False
    """No line for each request."""

    def run(self) -> None:
        """Serve until Ctrl-C or SIGTERM."""
        import logging

        from nanostream.cli.options import load_recipe
        from nanostream.errors import StreamError
        from nanostream.formats.nbytes import parse_bytes

        try:
            from nanostream.gateway.config import GatewayConfig, Limits
            from nanostream.gateway.server import serve
        except ModuleNotFoundError as error:
            msg = f"expected what a gateway needs, but {error.name} is not installed: pip install 'nanostream[gateway]'"
            raise StreamError(msg) from error

        config = GatewayConfig(
            recipes=tuple(load_recipe(name) for name in self.recipes),
            host=self.host,
            port=self.port,
            token=self._token(),
            open=self.open,
            workers=self._workers(),
            address=self.address,
            pool=self.pool,
            shard_size=self.shard_size,
            cache=self.cache,
            cache_bytes=parse_bytes(self.cache_size),
            allow_recipes=self.allow_recipes,
            limits=Limits(memory_bytes=parse_bytes(self.memory)),
        )
        logging.basicConfig(format="%(asctime)s %(name)s %(message)s", level=logging.WARNING)
        # One line for each malformed request would let anybody fill the disk.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        logging.getLogger("nanostream.access").setLevel(logging.WARNING if self.quiet else logging.INFO)

        def started(url: str) -> None:
            names = ", ".join(recipe.name for recipe in config.recipes)
            print(f"Serving {names} at {url}/ - Ctrl-C ends it.", flush=True)

        service = serve(config, started=started)
        print(
            f"Served {service.desk.counters.stats().samples_delivered} samples; everything that was started has ended."
        )

    def _token(self) -> str | None:
        from nanostream.errors import StreamError

        if self.token_file is None:
            # Taken out, so that no process started from here has it too.
            return os.environ.pop("NANOSTREAM_TOKEN", "") or None
        try:
            return self.token_file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            msg = f"expected a token in {self.token_file}, but it cannot be read: {error}"
            raise StreamError(msg) from error

    def _workers(self) -> int:
        if self.workers is not None:
            return self.workers
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
