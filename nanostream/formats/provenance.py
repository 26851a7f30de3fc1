"""What a stored set says of itself: recipe, range and the versions that made its bytes."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import zlib
from typing import TYPE_CHECKING, Any

from nanostream.errors import StoreError
from nanostream.seeding import MAX_INDEX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nanostream.formats.encoded import Encoded

__all__ = ["LAYOUT", "Provenance", "versions"]

_LIBRARIES = ("nanostream", "numcodecs", "numpy", "pycocotools", "tifffile")

LAYOUT = 2
"""Number of the layout on disk; raised when older readers could no longer read it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where the samples of a stored set come from."""

    recipe: dict[str, Any]
    """The whole recipe, as plain JSON values."""

    recipe_hash: str
    build_hash: str
    backend: str
    seed: int
    start: int
    """Index of the first sample."""

    count: int
    """How many samples follow, one index after the other."""

    @property
    def stop(self) -> int:
        """Index behind the last sample."""
        return self.start + self.count

    def dump(self, *, kind: str, shard_size: int) -> dict[str, Any]:
        """Plain JSON values for the set's own description; kind: one of sinks.FORMATS."""
        return {
            "kind": kind,
            "layout": LAYOUT,
            "shard_size": shard_size,
            "versions": versions(),
            **dataclasses.asdict(self),
        }

    @classmethod
    def parse(cls, described: dict[str, Any], *, kind: str, name: str) -> tuple[Provenance, int]:
        """Provenance and shard size of a description. Raises StoreError that names what is off."""
        if described.get("kind") != kind or described.get("layout") != LAYOUT:
            msg = (
                f"expected {name} to describe a {kind} export of layout {LAYOUT}, got "
                f"{described.get('kind')!r} of layout {described.get('layout')!r}: "
                "open it with the dataset for its kind, or with a newer nanostream"
            )
            raise StoreError(msg)
        values = {}
        for field in dataclasses.fields(cls):
            values[field.name] = _typed(described, field.name, _TYPES[field.name], name)
        shard_size = _typed(described, "shard_size", int, name)
        start, count = values["start"], values["count"]
        if count < 1 or start < 0 or start + count > MAX_INDEX + 1 or shard_size < 1:
            msg = (
                f"{name} is damaged: expected a range of indices and a shard size of at least 1, got "
                f"{count} from {start} on and {shard_size}; export or copy it again"
            )
            raise StoreError(msg)
        return cls(**values), shard_size

    def checked(self, samples: Iterable[Encoded]) -> Iterator[Encoded]:
        """The first `count` of the samples.

        Raises StoreError at the first that is not the next of this set, or if they end early.
        """
        stream = iter(samples)
        for index in range(self.start, self.stop):
            sample = next(stream, None)
            if sample is None:
                msg = (
                    f"expected {self.count} samples from index {self.start} on, got "
                    f"{index - self.start}: the stream ended early, start the export again"
                )
                raise StoreError(msg)
            self.check(sample, index)
            yield sample

    def check(self, sample: Encoded, index: int) -> None:
        """Raise StoreError unless the sample is the one of this index of the set."""
        expected = (self.seed, index, self.recipe_hash, self.build_hash)
        got = (sample.seed, sample.index, sample.recipe, sample.build)
        if got != expected:
            msg = (
                f"expected the sample (seed, index, recipe, build) {expected}, got {got}: "
                "export one recipe's samples in the order of their indices"
            )
            raise StoreError(msg)


def versions() -> dict[str, str]:
    """Versions of all that decides the bytes of an exported sample beside its pixels."""
    return {name: _version(name) for name in _LIBRARIES} | {"zlib": zlib.ZLIB_RUNTIME_VERSION}


@functools.cache
def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


_TYPES: dict[str, type] = {
    "recipe": dict,
    "recipe_hash": str,
    "build_hash": str,
    "backend": str,
    "seed": int,
    "start": int,
    "count": int,
}


def _typed(described: dict[str, Any], key: str, kind: type, name: str) -> Any:
    value = described.get(key)
    if type(value) is not kind:
        msg = (
            f"{name} is damaged: expected {key!r} to be of type {kind.__name__}, got {value!r}; export or copy it again"
        )
        raise StoreError(msg)
    return value
