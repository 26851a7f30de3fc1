"""WebDataset shards read back: the samples that `webdataset.py` wrote, by row."""

from __future__ import annotations

import itertools
import operator
import tarfile
from typing import TYPE_CHECKING, Any, Final

from nanostream.errors import StoreError
from nanostream.formats.codec import FIELDS, MAX_FIELD_BYTES, decode, parse_json
from nanostream.formats.provenance import Provenance
from nanostream.formats.webdataset import DESCRIPTION, KIND

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from nanostream.sample import Sample

__all__ = ["ShardReader"]


class ShardReader:
    """Samples of a folder of shards, by row: row 0 is the sample of the first index.

    Rising rows cost one pass over each shard's entries; only the samples asked for are decoded.
    Nothing is ever extracted to disk. Raises StoreError if the folder is no whole export.
    """

    def __init__(self, folder: Path) -> None:
        description = folder / DESCRIPTION
        self.folder: Final = folder
        described = parse_json(_read_file(description), str(description))
        self.provenance, self._shard_size = Provenance.parse(described, kind=KIND, name=str(description))
        shards = -(-len(self) // self._shard_size)
        missing = [
            name
            for number in range(shards)
            for name in (f"{number:06d}.tar", f"{number:06d}.json")
            if not (folder / name).is_file()
        ]
        if missing:
            msg = (
                f"expected {shards} shards with their manifests in {folder}, {missing[0]} is "
                f"missing ({len(missing)} files in all): export the set again"
            )
            raise StoreError(msg)

    def __len__(self) -> int:
        """Samples in the set."""
        return self.provenance.count

    def samples(self, rows: Iterable[int], *, meta: bool = True) -> Iterator[Sample]:
        """Samples of the rows, in the order asked for; meta: whether their metadata is wanted.

        Raises StoreError, naming shard and sample, where a shard is cut off or damaged.
        """
        passes = itertools.groupby(self._passes(rows), operator.itemgetter(0))
        for (number, _), group in passes:
            yield from self._shard(number, (row for _, row in group), meta=meta)

    def manifest(self, number: int) -> dict[str, Any]:
        """Manifest of one shard. Raises StoreError if it does not fit the set's description."""
        path = self.folder / f"{number:06d}.json"
        manifest = parse_json(_read_file(path), str(path))
        start = self.provenance.start + number * self._shard_size
        expected = {
            "shard": f"{number:06d}.tar",
            "start": start,
            "count": min(self._shard_size, self.provenance.stop - start),
            "recipe": self.provenance.recipe_hash,
            "seed": self.provenance.seed,
        }
        for key, value in expected.items():
            if manifest.get(key) != value:
                msg = (
                    f"expected {key} {value!r} in {path}, got {manifest.get(key)!r}: "
                    "shard and set belong to different exports, export it again"
                )
                raise StoreError(msg)
        return manifest

    def _passes(self, rows: Iterable[int]) -> Iterator[tuple[tuple[int, int], int]]:
        """Each row with the number of its shard and of the pass that can reach it going on."""
        before, passes = -1, 0
        for row in rows:
            if not 0 <= row < len(self):
                msg = f"expected a row from 0 to {len(self) - 1} of {self.folder}, got {row}"
                raise StoreError(msg)
            passes += row <= before
            before = row
            yield (row // self._shard_size, passes), row

    def _shard(self, number: int, rows: Iterable[int], *, meta: bool) -> Iterator[Sample]:
        path = self.folder / f"{number:06d}.tar"
        size, stated = path.stat().st_size, self.manifest(number).get("bytes")
        if size != stated:
            msg = (
                f"{path} is damaged: expected {stated} bytes as its manifest says, got {size}; export or copy it again"
            )
            raise StoreError(msg)
        try:
            with tarfile.open(path, "r:") as tar:
                yield from self._entries(tar, number, rows, meta=meta)
        except tarfile.TarError as error:
            msg = f"{path} is damaged: expected a tar file, {error}; export or copy it again"
            raise StoreError(msg) from error

    def _entries(self, tar: tarfile.TarFile, number: int, rows: Iterable[int], *, meta: bool) -> Iterator[Sample]:
        shard = f"{number:06d}.tar"
        at = number * self._shard_size
        for row in rows:
            for skipped in range(at, row):
                for field in FIELDS:
                    self._next(tar, shard, skipped, field)
            fields = {field: _payload(tar, self._next(tar, shard, row, field)) for field in FIELDS}
            at = row + 1
            index = self.provenance.start + row
            sample = decode(fields, name=f"sample {index} in {self.folder / shard}", meta=meta)
            if (sample.index, sample.seed) != (index, self.provenance.seed):
                msg = (
                    f"expected sample {index} of seed {self.provenance.seed} in {shard}, got "
                    f"{sample.index} of seed {sample.seed}: export it again"
                )
                raise StoreError(msg)
            yield sample

    def _next(self, tar: tarfile.TarFile, shard: str, row: int, field: str) -> tarfile.TarInfo:
        entry = tar.next()
        expected = f"{self.provenance.start + row:016d}.{field}"
        if entry is None:
            msg = f"{shard} is cut off: expected {expected} next, got its end; copy it again"
            raise StoreError(msg)
        if entry.name != expected or not entry.isreg() or entry.size > MAX_FIELD_BYTES:
            msg = (
                f"{shard} is damaged: expected the file {expected} of at most {MAX_FIELD_BYTES} "
                f"bytes next, got {entry.name!r} of {entry.size}; export or copy it again"
            )
            raise StoreError(msg)
        return entry


def _payload(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(entry)
    return b"" if file is None else file.read()


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # One byte more than any may have; the parser refuses it with the rest unread.
            return file.read(MAX_FIELD_BYTES + 1)
    except OSError as error:
        msg = f"expected to read {path}, but {error.strerror}: name a folder that export wrote"
        raise StoreError(msg) from error
