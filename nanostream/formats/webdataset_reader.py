"""WebDataset shards read back: the samples that `webdataset.py` wrote, by row."""

from __future__ import annotations

import itertools
import operator
import os
import tarfile
from typing import TYPE_CHECKING, Any, Final, final

from nanostream.errors import StoreError
from nanostream.formats.cache import CACHE_BYTES, Cache
from nanostream.formats.codec import FIELDS, MAX_FIELD_BYTES, decode
from nanostream.formats.folder import open_folder
from nanostream.formats.webdataset import WebDatasetSink, tar_header, tar_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from nanostream.formats.folder import Folder
    from nanostream.sample import Sample

__all__ = ["ShardReader"]

_BLOCK = tarfile.BLOCKSIZE
_SIZE = slice(124, 135)


@final
class ShardReader:
    """Samples of a folder of shards, by row: row 0 is the sample of the first index.

    Rising rows cost one pass over each shard's entries; only the samples asked for are decoded.
    A shard's SHA-256 is compared with its manifest when the reader first opens it. Nothing is ever
    extracted to disk. cache, cache_bytes: see Cache. Raises StoreError if the folder is no whole export.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | Folder,
        *,
        cache: str | os.PathLike[str] | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.folder: Final = open_folder(folder)
        self._sink = WebDatasetSink.open(self.folder)
        self._sink.check_whole()
        self.provenance = self._sink.provenance
        self._cache = Cache(self.folder, where=cache, limit_bytes=cache_bytes)
        self._manifests: dict[int, dict[str, Any]] = {}

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
        if number not in self._manifests:
            self._manifests[number] = self._sink.manifest(number)
        return self._manifests[number]

    def _passes(self, rows: Iterable[int]) -> Iterator[tuple[tuple[int, int], int]]:
        """Each row with the number of its shard and of the pass that can reach it going on."""
        before, passes = -1, 0
        for row in rows:
            if not 0 <= row < len(self):
                msg = f"expected a row from 0 to {len(self) - 1} of {self.folder}, got {row}"
                raise StoreError(msg)
            passes += row <= before
            before = row
            yield (row // self._sink.shard_size, passes), row

    def _shard(self, number: int, rows: Iterable[int], *, meta: bool) -> Iterator[Sample]:
        (name,) = self._sink.part_files(number)
        with self._cache.open(name, self.manifest(number)["files"][name]) as file:
            shard = _Shard(file, f"{name} of {self.folder}")
            at = number * self._sink.shard_size
            for row in rows:
                for skipped, field in itertools.product(range(at, row), FIELDS):
                    shard.skip(tar_name(self.provenance.start + skipped, field))
                at = row + 1
                index = self.provenance.start + row
                fields = {field: shard.read(tar_name(index, field)) for field in FIELDS}
                sample = decode(fields, name=f"sample {index} in {name} of {self.folder}", meta=meta)
                if (sample.index, sample.seed) != (index, self.provenance.seed):
                    msg = (
                        f"expected sample {index} of seed {self.provenance.seed} in {name}, got "
                        f"{sample.index} of seed {sample.seed}: export it again"
                    )
                    raise StoreError(msg)
                yield sample


class _Shard:
    """A tar file whose entries are known by name and order; everything else about them is checked."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name

    def read(self, entry: str) -> bytes:
        """Bytes of the next entry."""
        size = self._header(entry)
        data = self._file.read(size + -size % _BLOCK)
        if len(data) < size:
            self._cut(entry)
        return data[:size]

    def skip(self, entry: str) -> None:
        """Go behind the next entry."""
        size = self._header(entry)
        self._file.seek(size + -size % _BLOCK, os.SEEK_CUR)

    def _header(self, entry: str) -> int:
        header = self._file.read(_BLOCK)
        if len(header) < _BLOCK:
            self._cut(entry)
        try:
            size = int(header[_SIZE], 8)
        except ValueError:
            size = -1
        # One comparison of the whole block refuses other names, links, folders and odd sizes.
        if not 0 <= size <= MAX_FIELD_BYTES or header != tar_header(entry, size):
            got = header[:100].rstrip(b"\0").decode("ascii", "backslashreplace")
            msg = (
                f"{self._name} is damaged: expected the plain file {entry} of at most {MAX_FIELD_BYTES} "
                f"bytes next, got {got!r} of {size}; export or copy it again"
            )
            raise StoreError(msg)
        return size

    def _cut(self, entry: str) -> None:
        msg = f"{self._name} is damaged: it is cut off, expected {entry} next, got its end; copy it again"
        raise StoreError(msg)
