"""A range of a stream written to a folder, in any of the formats."""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import TYPE_CHECKING, Any

from nanostream.errors import StoreError
from nanostream.export.encoding import LEASE, encoded, leases, open_encoding
from nanostream.export.ending import ended_by_signals
from nanostream.formats.encoded import Encoded
from nanostream.formats.folder import open_folder
from nanostream.formats.nbytes import parse_bytes
from nanostream.formats.provenance import Provenance
from nanostream.formats.sinks import check_format, counted, encoder, sink_class
from nanostream.formats.target import begun_export, check_new, differing, replacing
from nanostream.seeding import check_index, check_seed
from nanostream.stream.choose import choose_engine
from nanostream.stream.engine import SYNTH

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from nanostream.formats.sink import Sink
    from nanostream.sample import Sample
    from nanostream.stream.engine import Engine, StreamRecipe, Synthesizer

__all__ = ["Exported", "export", "write"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export made."""

    folder: str
    format: str
    provenance: Provenance
    shard_size: int
    nbytes: int
    """Bytes of all files in the folder."""

    resumed: int
    """Samples that an export before this one had already written."""


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
    shard_size: int | str | None = None,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Exported:
    """Render the samples start .. start + count - 1 and write them into a folder.

    format: one of FORMATS. out: a folder, or an address that fsspec opens; new or empty, or with
    `overwrite` one that export wrote, which is given back as it was unless the new one becomes whole.
    A folder where the same export was interrupted is gone on with, to the same bytes.
    engine, workers, address, synth: as for StreamingDataset. shard_size: samples a shard, or bytes
    as text, such as "512MB". progress: called with 1 after each sample.
    Raises StoreError for an unknown format, a count below 1, a folder that exists or a full disk,
    SampleIndexError for a seed or range beyond 2^53, and what the engine raises.
    """
    # All that can be wrong is found before an engine starts.
    _check(format=format, count=count, shard_size=shard_size, start=start, seed=seed)
    folder = open_folder(out)
    begun = begun_export(
        folder, overwrite=overwrite, format=format, start=start, count=count, seed=seed, recipe_hash=recipe.hash
    )
    choose_engine(engine, workers=workers, address=address)
    told = {"seed": seed, "engine": engine, "workers": workers, "address": address}
    with open_encoding(recipe, format=format, synth=synth, **told) as source, ended_by_signals():
        build = source.build
        provenance = Provenance(
            recipe=json.loads(recipe.dump()),
            recipe_hash=recipe.hash,
            build_hash=build.hash,
            backend=build.backend,
            seed=seed,
            start=start,
            count=count,
        )
        if begun is not None and (other := differing(begun, provenance, shard_size)):
            if not overwrite:
                raise StoreError(other)
            begun = None
        size = _size(shard_size, format, source, provenance) if begun is None else begun.shard_size
        sink = sink_class(format)(folder, provenance, shard_size=size)

        def rendered(parts: list[int]) -> Iterator[Encoded]:
            return encoded(source, itertools.chain.from_iterable(leases(sink.indices(number)) for number in parts))

        with replacing(folder, resuming=begun is not None):
            return _written(sink, rendered, progress=progress, begin=begun is None)


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
    the first sample. The rest, and what it raises, as for `export`, but nothing is gone on with.
    """
    _check(format=format, count=count, shard_size=shard_size)
    folder = open_folder(out)
    check_new(folder, overwrite=overwrite)
    encode = encoder(format)
    stream = (Encoded.of(sample, encode) for sample in samples)
    first = next(stream, None)
    if first is None:
        msg = f"expected {count} samples to export, got none: the stream ended before the first"
        raise StoreError(msg)
    provenance = Provenance(
        recipe=recipe,
        recipe_hash=first.recipe,
        build_hash=first.build,
        backend=first.backend,
        seed=first.seed,
        start=first.index,
        count=count,
    )
    kind = sink_class(format)
    sink = kind(folder, provenance, shard_size=shard_size or kind.default_size(first))
    with replacing(folder, resuming=False):
        return _written(sink, lambda _: itertools.chain([first], stream), progress=progress, begin=True)


def _written(
    sink: Sink,
    samples: Callable[[list[int]], Iterator[Encoded]],
    *,
    progress: Callable[[int], None] | None,
    begin: bool,
) -> Exported:
    """Write the parts of a set that are missing. samples: those of some parts, one after the other."""
    if begin:
        sink.begin()
    missing = sink.missing()
    done = sink.provenance.count - sum(len(sink.indices(number)) for number in missing)
    if done and progress is not None:
        progress(done)
    stream = samples(missing) if missing else iter(())
    try:
        for number in missing:
            part = _checked(stream, sink, number)
            sink.put(number, part if progress is None else counted(part, progress))
    finally:
        close = getattr(stream, "close", None)
        if close is not None:
            close()
    sink.close()
    return Exported(
        folder=str(sink.folder),
        format=sink.kind,
        provenance=sink.provenance,
        shard_size=sink.shard_size,
        nbytes=sum(sink.folder.sizes().values()),
        resumed=done,
    )


def _checked(stream: Iterator[Encoded], sink: Sink, number: int) -> Iterator[Encoded]:
    """The next part's samples. Raises StoreError where one is not the one it should be."""
    for index in sink.indices(number):
        sample = next(stream, None)
        if sample is None:
            msg = (
                f"expected {sink.provenance.count} samples from index {sink.provenance.start} on, got "
                f"{index - sink.provenance.start}: the stream ended early, start the export again"
            )
            raise StoreError(msg)
        sink.provenance.check(sample, index)
        yield sample


def _size(asked: int | str | None, format: str, source: Engine, provenance: Provenance) -> int:  # noqa: A002
    """Samples a shard. Bytes are turned into samples by the first eight, so the same for every run."""
    if isinstance(asked, int):
        return asked
    few = range(provenance.start, min(provenance.start + LEASE, provenance.stop))
    ones = list(encoded(source, [few]))
    if asked is None:
        return sink_class(format).default_size(ones[0])
    # Names and padding of a file in a tar take about a block and a half.
    nbytes = sum(one.nbytes + 768 * len(one.fields) for one in ones) / len(ones)
    return max(1, int(parse_bytes(asked) / nbytes))


def _check(
    *,
    format: str,  # noqa: A002 as above
    count: int,
    shard_size: int | str | None,
    start: int = 0,
    seed: int = 0,
) -> None:
    check_format(format)
    if isinstance(shard_size, str):
        parse_bytes(shard_size)
        shard_size = None
    for name, value in (("count", count), ("shard_size", 1 if shard_size is None else shard_size)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            msg = f"expected {name} to be a whole number of samples, at least 1, got {value!r}"
            raise StoreError(msg)
    check_seed(seed)
    check_index(start)
    check_index(start + count - 1)
