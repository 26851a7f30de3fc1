"""Everything that is wrong with a stored set, in sentences."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from nanostream.errors import StoreError
from nanostream.formats.disk import PARTIAL
from nanostream.formats.folder import open_folder
from nanostream.formats.seal import read_json
from nanostream.formats.sink import DESCRIPTION
from nanostream.formats.sinks import open_sink
from nanostream.formats.window import RING_KINDS, sidecars

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from nanostream.formats.folder import Folder
    from nanostream.formats.sink import Sink

__all__ = ["verify"]

_PIECE_BYTES = 2**24


def verify(
    folder: str | os.PathLike[str] | Folder,
    *,
    decode: bool = True,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """What is wrong with a set or a ring: one sentence each, none for a whole and sound one.

    Compares the description, every manifest, and size and SHA-256 of every file. decode: also read
    every sample of WebDataset shards and Zarr stores, and compare what it says of itself; a ring's files
    alone are compared, and only while nobody writes to it.
    progress: called with the samples of each part that is done. Nothing is written.
    """
    place = open_folder(folder)
    try:
        described = read_json(place, DESCRIPTION)
        sizes = place.sizes()
        if described.get("kind") in RING_KINDS:
            return list(_differing_slots(place, described, sizes, progress))
        sink = open_sink(place)
    except StoreError as error:
        return [str(error)]
    if sink.parts > len(sizes):
        stated_parts = f"expected {sink.parts} parts in {place} as {DESCRIPTION} says"
        return [f"{stated_parts}, there are {len(sizes)} files in all: go on with the export, or copy it again"]
    problems = []
    stated: set[str] = {DESCRIPTION, *sink.manifest_names()}
    for number, name in enumerate(sink.manifest_names()):
        try:
            if number < sink.parts:
                sink.manifest(number)
            files = sink.files(name)
        except StoreError as error:
            problems.append(str(error))
            continue
        stated |= files.keys()
        problems += _differing(place, files, sizes)
        if progress is not None and number < sink.parts:
            progress(len(sink.indices(number)))
    for name in sorted(sizes.keys() - stated):
        what = (
            "is left over from an export that was killed" if name.endswith(PARTIAL) else "belongs to no part of the set"
        )
        problems.append(f"{name} of {place} {what}: remove it, or look at where it came from")
    if decode and not problems:
        problems += _unreadable(sink)
    return problems


def _differing_slots(
    place: Folder, described: dict[str, Any], sizes: dict[str, int], progress: Callable[[int], None] | None
) -> Iterator[str]:
    slots = described.get("slots")
    if not isinstance(slots, int) or not 0 < slots <= len(sizes):
        yield f"expected the slots of {place} that {DESCRIPTION} says, {slots!r}, got {len(sizes)} files: copy it again"
        return
    for slot, held in enumerate(sidecars(place, slots)):
        name = f"{slot:06d}{RING_KINDS[described['kind']].ending}"
        yield from _differing(place, {name: held}, sizes)
        if progress is not None:
            progress(held["stop"] - held["start"])


def _differing(place: Folder, files: dict[str, dict[str, Any]], sizes: dict[str, int]) -> Iterator[str]:
    for name, entry in files.items():
        if name not in sizes:
            yield f"expected {name} in {place}, it is missing: export or copy it again"
            continue
        if sizes[name] != entry["bytes"]:
            yield f"expected {entry['bytes']} bytes in {name} of {place}, got {sizes[name]}: export or copy it again"
            continue
        sha256 = hashlib.sha256()
        try:
            for start in range(0, sizes[name], _PIECE_BYTES):
                sha256.update(place.read(name, start, _PIECE_BYTES))
        except StoreError as error:
            yield str(error)
            continue
        if sha256.hexdigest() != entry["sha256"]:
            yield (
                f"expected {name} of {place} to have the SHA-256 {entry['sha256'][:16]}..., got "
                f"{sha256.hexdigest()[:16]}...: export or copy it again"
            )


def _unreadable(sink: Sink) -> list[str]:
    """The first sample that cannot be read back, where the kind of set can be."""
    try:
        for sample in _samples(sink):
            got = sample.meta.get("recipe")
            if got != sink.provenance.recipe_hash:
                expected = sink.provenance.recipe_hash[:16]
                where = f"sample {sample.index} of {sink.folder}"
                return [f"expected recipe {expected} in {where}, got {str(got)[:16]}: export it again"]
    except StoreError as error:
        return [str(error)]
    return []


def _samples(sink: Sink) -> Iterator[Any]:
    if sink.kind == "webdataset":
        from nanostream.formats.webdataset_reader import ShardReader

        yield from ShardReader(sink.folder).samples(range(sink.provenance.count))
    elif sink.kind == "zarr":
        from nanostream.formats.zarr_reader import ZarrReader

        yield from ZarrReader(sink.folder).samples(range(sink.provenance.count))
