"""What every engine does: turn leases into samples, in the order of the leases.

An engine is opened once, gives any number of sample iterators, and is closed. It keeps to this:
samples come in the order of the leases, each index once; what is in flight is bounded; `next()`
returns or raises a NanostreamError in bounded time; closing an iterator or the engine ends its work.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import importlib
from typing import TYPE_CHECKING, Any, Protocol, Self

from nanostream.errors import ForkError, RenderError, StreamError
from nanostream.telemetry import StreamCounters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nanostream.sample import Sample

__all__ = [
    "SYNTH",
    "Build",
    "Engine",
    "StreamRecipe",
    "Synthesizer",
    "Ticket",
    "fork_error",
    "import_path",
    "render_error",
    "resolve",
    "together",
]

SYNTH = "nanostream.synth:Synth"
"""Import path of the renderer that engines build by default, from a recipe."""


class Synthesizer(Protocol):
    """What an engine needs of a renderer; `nanostream.testing.FakeSynth` is another one."""

    @property
    def backend(self) -> str:
        """Name of the backend that renders."""
        ...

    def render(self, *, seed: int, index: int) -> Sample:
        """The sample of one index."""
        ...


class StreamRecipe(Protocol):
    """What a stream needs of a recipe: its name, its two hashes, and its text for other processes."""

    @property
    def name(self) -> str:
        """Name for people."""
        ...

    @property
    def hash(self) -> str:
        """Hash of all that decides the pixels."""
        ...

    def build_hash(self, backend: str) -> str:
        """Hash of what else decides them: versions and backend."""
        ...

    def dump(self) -> str:
        """JSON, for the class's own `parse`."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Build:
    """What renders: hash of the pixel version, the libraries and the backend; and the backend."""

    hash: str
    backend: str


@dataclasses.dataclass(frozen=True, slots=True)
class Ticket:
    """What another process needs to join an engine's workers; reading it imports no Ray.

    authentication: environment variables, to be set before Ray is imported. keeper: name of the
    actor that hires the workers and knows who they are, where there is one. folder: of a Ray that
    was started for the engine, removed with it.
    """

    address: str
    names: tuple[str, ...]
    authentication: dict[str, str]
    keeper: str | None = None
    folder: str | None = None


class Engine(abc.ABC):
    """Leases in, samples out. Final methods here, three methods to write in an engine."""

    def __init__(self) -> None:
        self.counters = StreamCounters()

    @property
    @abc.abstractmethod
    def build(self) -> Build:
        """What renders; starts the renderer where it is not running yet."""

    @abc.abstractmethod
    def _render(self, leases: Iterable[range], ahead: int) -> Iterator[Sample]:
        """Samples of the leases, in order; a generator whose close() gives up what is in flight."""

    @abc.abstractmethod
    def close(self) -> None:
        """End everything that the engine started; more calls do nothing."""

    def samples(self, leases: Iterable[range], *, ahead: int = 0) -> Iterator[Sample]:
        """Samples of the leases, in their order; arrays may be read-only.

        ahead: samples to have asked for beyond the one handed out, where the engine can; at least
        what keeps its workers busy. Raises RenderError, StreamError or BackendError.
        """
        source = self._render(leases, ahead)
        try:
            while True:
                self.counters.asked()
                sample = next(source, None)
                if sample is None:
                    return
                self.counters.delivered(sample.nbytes)
                yield sample
        finally:
            self.counters.asks_no_more()
            close = getattr(source, "close", None)
            if close is not None:
                close()

    def sample(self, index: int) -> Sample:
        """The sample of one index."""
        return next(iter(self.samples([range(index, index + 1)])))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def resolve(path: str) -> Any:
    """The object that "module:attribute" names; raise StreamError where there is none."""
    module, _, attribute = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        msg = f"expected an import path such as {SYNTH!r}, got {path!r} ({error})"
        raise StreamError(msg) from error
    return found


def import_path(thing: Callable[..., Any]) -> str:
    """The "module:attribute" of a class or function."""
    return f"{thing.__module__}:{thing.__qualname__}"


def together(synth: Synthesizer, *, seed: int, indices: Sequence[int]) -> Iterator[Sample]:
    """The first of the samples, rendered with several in flight; none where nothing is gained by it.

    A graphics card computes one while the next is prepared. It ends at a failure, of which nobody knows
    whose it is: the rest is rendered one by one.
    """
    many = getattr(synth, "render_many", None)
    if many is not None and synth.backend.startswith("cuda"):
        with contextlib.suppress(Exception):
            yield from many(seed=seed, indices=indices)


def render_error(recipe: StreamRecipe, *, seed: int, index: int, reason: str) -> RenderError:
    """RenderError that names recipe, seed and index."""
    return RenderError(
        f"expected sample {index} of recipe {recipe.name!r} ({recipe.hash[:12]}) with seed {seed} to render, "
        f"got {reason}; render this index alone to look into it"
    )


def fork_error() -> ForkError:
    """ForkError that names the ways out."""
    return ForkError(
        "expected a process that was started for the Ray engine, got one forked from a process that holds or "
        "needs Ray, in which Ray hangs; pass multiprocessing_context='spawn' to the DataLoader, or num_workers=0"
    )
