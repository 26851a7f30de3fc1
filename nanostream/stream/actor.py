"""The render worker: one process, one renderer, bounded calls of one lease. Runs inside a Ray actor."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import pickle
import time
from typing import TYPE_CHECKING, Any

from nanostream import errors
from nanostream.errors import NanostreamError, StreamError
from nanostream.stream.engine import Build, resolve, together

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nanostream.sample import Sample
    from nanostream.stream.engine import StreamRecipe, Synthesizer

__all__ = ["Failure", "RecipeText", "RenderActor", "Reply", "packed", "resident_bytes"]

_REMEMBERED = 256
_SMALL_BYTES = 64 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class RecipeText:
    """A recipe on its way to another process: import path of its class, its JSON, its hash."""

    kind: str
    text: str
    hash: str

    def parse(self) -> StreamRecipe:
        """The recipe; raise StreamError where its files differ here from those of the sender."""
        recipe = resolve(self.kind).parse(self.text)
        if recipe.hash != self.hash:
            msg = (
                f"expected recipe {self.hash[:12]} on every render worker, got {recipe.hash[:12]} on "
                f"{os.uname().nodename}; put the same texture file at the same path on every node"
            )
            raise StreamError(msg)
        return recipe


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """An exception as plain text: its class, its message, and whether it is one of nanostream's own."""

    kind: str
    message: str
    ours: bool

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """The failure that an exception is."""
        return cls(type(error).__name__, str(error), isinstance(error, NanostreamError))

    def error(self) -> NanostreamError:
        """The exception again: nanostream's own class where it was one, else StreamError."""
        if self.ours:
            return getattr(errors, self.kind, StreamError)(self.message)
        return StreamError(
            f"expected a render worker that starts, got {self.kind}: {self.message}; run `nanostream doctor` there"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """What a worker returns for a lease: its samples up to the end or to the first failure."""

    samples: list[Sample]
    seconds: float
    failure: Failure | None = None
    resident_bytes: int = 0


class RenderActor:
    """Holds a renderer; plain values only at construction, so that a restart needs nothing but them.

    The renderer is built by the first call and not here: a call can report what went wrong, and
    calls of one concurrency group share a thread, while the constructor runs in another.
    """

    def __init__(self, recipe: RecipeText, factory: str | bytes) -> None:
        self._text = recipe
        self._factory = factory
        self._recipe: StreamRecipe | None = None
        self._synth: Synthesizer | None = None
        self._forgotten: dict[str, None] = {}

    def warm(self) -> Build | Failure:
        """Build the renderer where there is none yet; say what it is."""
        try:
            synth = self._renderer()
            assert self._recipe is not None
            return Build(self._recipe.build_hash(synth.backend), synth.backend)
        except Exception as error:  # noqa: BLE001 - any failure goes back to the one who asked
            return Failure.of(error)

    def render(
        self, flight: str, seed: int, lease: tuple[int, int, int], more: Mapping[str, Any] | None = None
    ) -> Reply:
        """Samples of the range `lease`; fewer where one fails, or the flight is no longer wanted.

        more: what else the renderer takes, where it takes more than seed and index.
        """
        samples: list[Sample] = []
        began = time.perf_counter()
        try:
            synth = self._renderer()
            if not more:
                samples.extend(together(synth, seed=seed, indices=range(*lease)))
            for index in range(*lease)[len(samples) :]:
                if flight in self._forgotten:
                    break
                samples.append(synth.render(seed=seed, index=index, **(more or {})))
        except Exception as error:  # noqa: BLE001 - any failure goes back to the one who asked
            return Reply(samples, time.perf_counter() - began, Failure.of(error), resident_bytes())
        return Reply(samples, time.perf_counter() - began, None, resident_bytes())

    def forget(self, flight: str) -> None:
        """Render no more for a flight whose consumer has gone."""
        self._forgotten[flight] = None
        while len(self._forgotten) > _REMEMBERED:
            del self._forgotten[next(iter(self._forgotten))]

    def pid(self) -> int:
        """Process number of this worker."""
        return os.getpid()

    def _renderer(self) -> Synthesizer:
        if self._synth is None:
            # One render worker is one thread: more would fight with the other workers for the cores.
            os.environ["OMP_NUM_THREADS"] = "1"
            self._recipe = self._text.parse()
            packed = self._factory
            # The bytes are the driver's own callable, made in memory; no file is read.
            factory = resolve(packed) if isinstance(packed, str) else pickle.loads(packed)  # noqa: S301
            synth: Synthesizer = factory(self._recipe)
            self._synth = synth
        return self._synth


def resident_bytes() -> int:
    """Memory that this process holds; 0 where the system does not tell."""
    try:
        pages = pathlib.Path("/proc/self/statm").read_text("ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def packed(synth: Callable[..., Synthesizer]) -> bytes:
    """A renderer's class or function for another process; raise StreamError for a lambda or a large one."""
    try:
        content = pickle.dumps(synth)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        msg = f"expected synth as an import path or a function of a module, got {synth!r} ({error})"
        raise StreamError(msg) from error
    if len(content) > _SMALL_BYTES:
        # Larger arguments go to Ray's object store, and a worker that starts again may not find them there.
        msg = f"expected synth of at most {_SMALL_BYTES} bytes pickled, got {len(content)}; pass paths, not data"
        raise StreamError(msg)
    return content
