"""The engine behind an address: a gateway renders, this process reads what it streams.

    StreamingDataset("http://host:8000/v1/tio2-sem", token="...")

The plan's indices are asked for as one periodic stream. Every index that comes is compared with the plan's,
and where the plan goes another way, or the connection is lost, the stream is opened again at the next index.
"""

from __future__ import annotations

import collections
import contextlib
import http.client
import itertools
import time
import urllib.parse
from typing import TYPE_CHECKING, Any

from nanostream import errors
from nanostream.errors import NanostreamError, RenderError, StoreError, StreamError
from nanostream.formats.frames import read_frame, sample_of
from nanostream.stream.engine import Engine
from nanostream.stream.remote import RemoteRecipe

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from nanostream.sample import Sample
    from nanostream.stream.engine import Build, StreamRecipe

__all__ = ["HttpEngine"]

_LOOK_AHEAD = 4096
_RETRY_SECONDS = 0.2


class HttpEngine(Engine):
    """Reads a gateway's stream; what is in flight is bounded there and by the connection."""

    def __init__(self, recipe: StreamRecipe, *, seed: int = 0, timeout_seconds: float = 300.0) -> None:
        super().__init__()
        if not isinstance(recipe, RemoteRecipe):
            msg = f"expected the address of a gateway's recipe with engine='http', got {recipe.name!r}; pass its URL"
            raise StreamError(msg)
        self._recipe = recipe
        self._seed = seed
        self._timeout_seconds = timeout_seconds
        self._closed = False

    @property
    def build(self) -> Build:
        """What renders there."""
        return self._recipe.build

    def close(self) -> None:
        """Read no more."""
        self._closed = True

    def _render(self, leases: Iterable[range], ahead: int) -> Iterator[Sample]:
        del ahead  # the gateway renders ahead of the connection
        wanted = _Wanted(leases)
        asked_at = time.monotonic()
        while wanted.next is not None:
            came = False
            with contextlib.closing(self._stream(wanted.pattern())) as samples:
                for sample in samples:
                    if sample.index != wanted.next:
                        # The plan goes another way here than the stream that was asked for.
                        if came:
                            break
                        msg = f"expected sample {wanted.next} from {self._recipe.url}, got {sample.index}"
                        raise StreamError(msg)
                    came = True
                    wanted.advance()
                    yield sample
                    asked_at = time.monotonic()
                    if self._closed or wanted.next is None:
                        break
            if self._closed:
                msg = "expected an open engine, got a closed one; open a new one"
                raise StreamError(msg)
            if time.monotonic() > asked_at + self._timeout_seconds:
                msg = (
                    f"expected sample {wanted.next} from {self._recipe.url} within {self._timeout_seconds:g} s, got "
                    "none; look whether its workers run, or raise timeout_seconds"
                )
                raise StreamError(msg)
            if not came:
                time.sleep(_RETRY_SECONDS)

    def _stream(self, pattern: dict[str, int]) -> Generator[Sample]:
        """Samples of one connection; ends where it is lost."""
        connection, response = self._recipe.get(f"/stream/{self._seed}?{urllib.parse.urlencode(pattern)}")
        with contextlib.closing(connection):
            for name, mine in (("recipe", self._recipe.hash), ("build", self._recipe.build.hash)):
                other = response.headers.get(f"X-Nanostream-{name}")
                if other != mine:
                    msg = (
                        f"expected the gateway at {self._recipe.url} to keep its {name} {mine[:12]}, got "
                        f"{str(other)[:12]}; open the stream again and load its state"
                    )
                    raise StreamError(msg)
            while not self._closed:
                try:
                    told = read_frame(response.read)
                except (OSError, http.client.HTTPException, StoreError) as error:
                    if isinstance(error, StoreError) and not response.isclosed():
                        raise
                    return
                if told is None or told.get("end"):
                    return
                yield from map(sample_of, told["samples"])
                if "error" in told:
                    raise _error(told)


class _Wanted:
    """The indices of a plan, with a look at what comes after the next."""

    def __init__(self, leases: Iterable[range]) -> None:
        self._rest = itertools.chain.from_iterable(leases)
        self._seen: collections.deque[int] = collections.deque()
        self.next: int | None = None
        self.advance()

    def advance(self) -> None:
        """Go on to the next index."""
        self.next = self._seen.popleft() if self._seen else next(self._rest, None)

    def pattern(self) -> dict[str, int]:
        """A stream that begins at the next index, and goes on as the plan does for as far as is looked."""
        assert self.next is not None
        start = previous = self.next
        batch = stride = 0
        for count, index in enumerate(self._ahead(), 1):
            if index != previous + 1:
                # One jump shows the length of a block and the distance to the next.
                batch, stride = count, index - start
                break
            previous = index
        else:
            if len(self._seen) < _LOOK_AHEAD:
                return {"start": start, "stop": previous + 1}
        if batch < stride:
            return {"start": start, "batch": batch, "stride": stride}
        return {"start": start}

    def _ahead(self) -> Iterator[int]:
        yield from self._seen
        while len(self._seen) < _LOOK_AHEAD:
            index = next(self._rest, None)
            if index is None:
                return
            self._seen.append(index)
            yield index


def _error(told: dict[str, Any]) -> NanostreamError:
    kind = getattr(errors, str(told.get("kind")), None)
    known: type[NanostreamError] = RenderError
    if isinstance(kind, type) and issubclass(kind, NanostreamError):
        known = kind
    return known(str(told["error"])[:1000])
