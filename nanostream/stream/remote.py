"""A recipe that lies behind an address, and how a gateway is asked for something."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import multiprocessing.context
import os
import time
import urllib.parse
from typing import Any

from nanostream.errors import StreamError
from nanostream.stream.engine import Build

__all__ = ["RemoteRecipe"]

_READ_SECONDS = 20.0
"""A gateway sends a frame every few seconds, though it be an empty one."""

_RETRY_SECONDS = 0.2
_RETRY_MOST_SECONDS = 3.0
_WAIT_MOST_SECONDS = 30.0
_ABOUT_BYTES = 1 << 20
_LATER = {429, 502, 503, 504}


class RemoteRecipe:
    """A recipe that a gateway serves. token: by default what NANOSTREAM_TOKEN holds.

    Hashes and name are the gateway's, asked for once. Raises StreamError where the address is none.
    """

    def __init__(self, url: str, *, token: str | None = None, timeout_seconds: float = 60.0) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            msg = f"expected the address of a recipe, such as http://127.0.0.1:8000/v1/tio2-sem, got {url!r}"
            raise StreamError(msg)
        self.url = url.rstrip("/")
        self._token = token or os.environ.get("NANOSTREAM_TOKEN") or None
        self._timeout_seconds = timeout_seconds
        self._known: dict[str, str] | None = None

    @property
    def name(self) -> str:
        """Name for people."""
        return self._about()["name"]

    @property
    def hash(self) -> str:
        """Hash of all that decides the pixels."""
        return self._about()["recipe"]

    @property
    def build(self) -> Build:
        """What renders there."""
        return Build(self._about()["build"], self._about()["backend"])

    def build_hash(self, backend: str) -> str:
        """Hash of what else decides them: the gateway's own; StreamError for another backend."""
        if backend != self.build.backend:
            msg = f"expected the gateway's backend {self.build.backend}, got {backend}; pass the recipe to render here"
            raise StreamError(msg)
        return self.build.hash

    def dump(self) -> str:
        """The address as JSON; the recipe itself stays where it is."""
        return json.dumps({"url": self.url})

    def __getstate__(self) -> dict[str, Any]:
        # A token goes to a child process, and into no file.
        starting = multiprocessing.context.get_spawning_popen() is not None
        return {**self.__dict__, "_token": self._token if starting else None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._token = self._token or os.environ.get("NANOSTREAM_TOKEN") or None

    def get(self, path: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Ask for something below the recipe's address; asks again while the gateway is not there or busy.

        Raises StreamError with its own words where it refuses, or where it does not answer in time.
        """
        until = time.monotonic() + self._timeout_seconds
        for attempt in itertools.count():
            connection = self._connection()
            pause = min(_RETRY_MOST_SECONDS, _RETRY_SECONDS * 2**attempt)
            try:
                response = self._asked(connection, path)
            except (OSError, http.client.HTTPException) as error:
                reason, final = str(error) or type(error).__name__, False
            else:
                if response.status == http.client.OK:
                    return connection, response
                reason, final = f"{response.status} {_sentence(response)}", response.status not in _LATER
                with contextlib.suppress(ValueError):
                    pause = max(pause, min(_WAIT_MOST_SECONDS, float(response.headers.get("Retry-After", "0"))))
            connection.close()
            if final or time.monotonic() + pause > until:
                within = "" if final else f" within {self._timeout_seconds:g} s"
                msg = (
                    f"expected the gateway at {self.url} to answer{within}, got {reason}; look at the address and "
                    "the token, and whether it runs"
                )
                raise StreamError(msg)
            time.sleep(pause)
        raise AssertionError

    def _asked(self, connection: http.client.HTTPConnection, path: str) -> http.client.HTTPResponse:
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        connection.request("GET", urllib.parse.urlsplit(self.url).path + path, headers=headers)
        return connection.getresponse()

    def _connection(self) -> http.client.HTTPConnection:
        parts = urllib.parse.urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=min(_READ_SECONDS, self._timeout_seconds))

    def _about(self) -> dict[str, str]:
        if self._known is None:
            connection, response = self.get("")
            with contextlib.closing(connection):
                try:
                    told = json.loads(response.read(_ABOUT_BYTES))
                    self._known = {name: str(told[name]) for name in ("name", "recipe", "build", "backend")}
                except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
                    msg = f"expected {self.url} to describe a recipe, got something else ({error}); look at the address"
                    raise StreamError(msg) from error
        return self._known


def _sentence(response: http.client.HTTPResponse) -> str:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return str(json.loads(response.read(_ABOUT_BYTES))["error"])[:300]
    return response.reason
