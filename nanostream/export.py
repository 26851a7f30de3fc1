"""A range of a stream written to a folder, as WebDataset shards or as a Zarr store."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib
import itertools
import json
import os
import pathlib
from typing import TYPE_CHECKING, Any, Final

from nanostream.errors import StoreError
from nanostream.formats.codec import check_sample, parse_json
from nanostream.formats.disk import remove_tree, writing
from nanostream.formats.provenance import Provenance
from nanostream.seeding import check_index, check_seed
from nanostream.stream.choose import choose_engine, open_engine
from nanostream.stream.engine import SYNTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nanostream.sample import Sample
    from nanostream.stream.engine import StreamRecipe, Synthesizer

__all__ = ["FORMATS", "Exported", "export", "write"]

FORMATS: Final = ("webdataset", "zarr")
"""What a stream can be written as."""

_LEASE = 8


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export made."""

    folder: pathlib.Path
    format: str
    provenance: Provenance
    nbytes: int
    """Bytes of all files in the folder."""


def export(
    recipe: StreamRecipe,
    *,
    format: str,  # noqa: A002 the word that the command has too
    count: int,
    out: str | os.PathLike[str],
    seed: int = 0,
    start: int = 0,
    engine: str = "auto",
    workers: int = 1,
    address: str | None = None,
    synth: str | Callable[..., Synthesizer] = SYNTH,
    shard_size: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Exported:
    """Render the samples start .. start + count - 1 and write them into a folder.

    format: one of FORMATS. out: a new or empty folder, or with `overwrite` one that export wrote;
    it is given back as it was unless the new one becomes whole. engine, workers,
    address, synth: as for StreamingDataset. shard_size: samples a shard. progress: called with 1 after each sample.
    Raises StoreError for an unknown format, a count below 1, a folder that exists or a full disk,
    SampleIndexError for a seed or range beyond 2^53, and what the engine raises.
    """
    # All that can be wrong is found before an engine starts.
    _check(format=format, count=count, shard_size=shard_size, start=start, seed=seed)
    _check_folder(_resolved(out), overwrite=overwrite)
    choose_engine(engine, workers=workers, address=address)
    with open_engine(recipe, seed=seed, engine=engine, workers=workers, address=address, synth=synth) as source:
        return write(
            source.samples(_leases(start, count)),
            recipe=json.loads(recipe.dump()),
            format=format,
            count=count,
            out=out,
            shard_size=shard_size,
            overwrite=overwrite,
            progress=progress,
        )


def write(
    samples: Iterable[Sample],
    *,
    recipe: dict[str, Any],
    format: str,  # noqa: A002 the word that the command has too
    count: int,
    out: str | os.PathLike[str],
    shard_size: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Exported:
    """Write the first `count` of some samples, which follow each other by index, into a folder.

    recipe: the recipe as plain JSON values; seed, first index, hashes and backend are taken from
    the first sample. The rest, and what it raises, as for `export`.
    """
    _check(format=format, count=count, shard_size=shard_size)
    folder = _resolved(out)
    _check_folder(folder, overwrite=overwrite)
    stream = iter(samples)
    first = next(stream, None)
    if first is None:
        msg = f"expected {count} samples to export, got none: the stream ended before the first"
        raise StoreError(msg)
    check_sample(first)
    provenance = Provenance.of(first, recipe=recipe, count=count)
    with _replacing(folder):
        _sink(format)(
            itertools.chain([first], stream),
            folder,
            provenance=provenance,
            shard_size=shard_size,
            progress=progress,
        )
    nbytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Exported(folder=folder, format=format, provenance=provenance, nbytes=nbytes)


def _leases(start: int, count: int) -> Iterator[range]:
    """The range in leases of a size that keeps the cost of a call to a worker small."""
    stop = start + count
    return (range(first, min(first + _LEASE, stop)) for first in range(start, stop, _LEASE))


def _check(
    *,
    format: str,  # noqa: A002 as above
    count: int,
    shard_size: int | None,
    start: int = 0,
    seed: int = 0,
) -> None:
    if format not in FORMATS:
        near = difflib.get_close_matches(str(format), FORMATS, 1, 0.3)
        hint = f": did you mean {near[0]!r}?" if near else ""
        msg = f"expected a format, one of {', '.join(FORMATS)}, got {format!r}{hint}"
        raise StoreError(msg)
    for name, value in (("count", count), ("shard_size", 1 if shard_size is None else shard_size)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            msg = f"expected {name} to be a whole number of samples, at least 1, got {value!r}"
            raise StoreError(msg)
    check_seed(seed)
    check_index(start)
    check_index(start + count - 1)


def _resolved(out: str | os.PathLike[str]) -> pathlib.Path:
    with writing(pathlib.Path(out)):
        return pathlib.Path(out).expanduser().resolve()


def _check_folder(folder: pathlib.Path, *, overwrite: bool) -> None:
    """Raise StoreError unless the folder is new, empty, or may be replaced."""
    with writing(folder):
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
    if not overwrite:
        msg = f"expected a new folder, but {folder} exists: choose another, or overwrite it (--overwrite)"
        raise StoreError(msg)
    stranger = _stranger(folder)
    if stranger is not None:
        msg = (
            f"expected to overwrite an export of nanostream's, but {folder} {stranger}: "
            "choose another folder, or remove it yourself"
        )
        raise StoreError(msg)


def _stranger(folder: pathlib.Path) -> str | None:
    """Why the folder is not wholly ours to delete; None if it is."""
    if not folder.is_dir():
        return "is a file"
    for name, path in (("nanostream.json", ()), ("zarr.json", ("attributes", "nanostream"))):
        file = folder / name
        if not file.is_file():
            continue
        described: Any = parse_json(file.read_bytes(), str(file))
        for key in path:
            described = described.get(key) if isinstance(described, dict) else None
        if not isinstance(described, dict) or described.get("kind") not in FORMATS:
            continue
        ours = importlib.import_module(f"nanostream.formats.{described['kind']}").OURS
        others = sorted(entry.name for entry in folder.iterdir() if not ours.fullmatch(entry.name))
        return f"also holds {others[0]!r}" if others else None
    return "holds other things"


@contextlib.contextmanager
def _replacing(folder: pathlib.Path) -> Iterator[None]:
    """Set what stands there aside until the block has ended well, and put it back if it has not."""
    if not folder.exists():
        yield
        return
    aside = folder.with_name(f"{folder.name}.replaced-{os.getpid()}")
    with writing(folder):
        folder.replace(aside)
    try:
        yield
    except BaseException:
        with writing(folder):
            if folder.exists():
                remove_tree(folder)
            aside.replace(folder)
        raise
    remove_tree(aside)


def _sink(name: str) -> Callable[..., None]:
    # Each sink's library is loaded only where it is used: Zarr takes half a second.
    return getattr(importlib.import_module(f"nanostream.formats.{name}"), f"write_{name}")
