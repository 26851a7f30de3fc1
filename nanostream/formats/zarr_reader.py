"""A Zarr store read back: the samples that `zarr.py` wrote, by row, in any order.

Zarr itself reads metadata and tables; pictures are read by zarr_pictures.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from typing import TYPE_CHECKING, Any, Final, cast, final

import numpy as np
import zarr
import zarr.storage

from nanostream.errors import NanostreamError, StoreError
from nanostream.formats.cache import CACHE_BYTES, Cache
from nanostream.formats.codec import MAX_FIELD_BYTES, parse_json
from nanostream.formats.folder import LocalFolder, open_folder
from nanostream.formats.remote import RemoteFolder
from nanostream.formats.seal import damaged
from nanostream.formats.sink import DESCRIPTION, SET
from nanostream.formats.zarr import ZarrSink
from nanostream.formats.zarr_pictures import Pictures
from nanostream.formats.zarr_table import COLUMN_TYPES
from nanostream.sample import Sample

if TYPE_CHECKING:
    import os
    import pathlib
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    from nanostream.formats.folder import Folder

__all__ = ["ZarrReader"]

_TABLE_ROWS = 32
"""Samples whose metadata is read in one go."""


@final
class ZarrReader:
    """Samples of a store, by row: row 0 is the sample of the first index.

    cache, cache_bytes: see Cache. Raises StoreError if the folder is no store of nanostream's, or if
    a part of it is missing.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | Folder,
        *,
        cache: str | os.PathLike[str] | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.folder: Final = open_folder(folder)
        self._sink = ZarrSink.open(self.folder)
        self.provenance = self._sink.provenance
        self._check_files()
        with _reading(self.folder):
            self._root = zarr.open_group(_store(self.folder), mode="r", zarr_format=3)
        self._check_attributes()
        image, mask = self._array("image"), self._array("mask")
        self._columns = {name: self._array(f"particles/{name}") for name in COLUMN_TYPES}
        self._json = self._array("meta/json")
        self._particle_offset, self._json_offset, index = (
            self._row_array(*row) for row in (("particles/offset", 1), ("meta/offset", 1), ("index", 0))
        )
        self._check_tables(index, image, mask)
        files = Cache(self.folder, where=cache, limit_bytes=cache_bytes)
        self._image = Pictures(self._sink, files, "image", image)
        self._mask = Pictures(self._sink, files, "mask", mask)

    def __len__(self) -> int:
        """Samples in the store."""
        return self.provenance.count

    def samples(self, rows: Iterable[int], *, meta: bool = True) -> Iterator[Sample]:
        """Samples of the rows, in the order asked for; meta: whether their metadata is wanted.

        Without it the metadata keeps only `seed` and `index`. Raises StoreError where a chunk is
        damaged, or a row is none.
        """
        seed = self.provenance.seed
        wanted = iter(rows)
        while some := list(itertools.islice(wanted, _TABLE_ROWS if meta else 1)):
            if not 0 <= min(some) <= max(some) < len(self):
                msg = f"expected rows from 0 to {len(self) - 1} of {self.folder}, got {some}"
                raise StoreError(msg)
            known = self._known(some) if meta else {}
            for row in some:
                index = self.provenance.start + row
                own = known.get(row, {"seed": seed, "index": index})
                yield Sample(seed=seed, index=index, image=self._image[row], mask=self._mask[row], meta=own)

    def _known(self, rows: list[int]) -> dict[int, dict[str, Any]]:
        """Metadata of the rows; neighbours cost one call of Zarr a column for all."""
        known: dict[int, dict[str, Any]] = {}
        # A row that follows its neighbour keeps the same distance to its place in the list.
        for _, run in itertools.groupby(enumerate(rows), lambda pair: pair[1] - pair[0]):
            members = [row for _, row in run]
            known.update(zip(members, self._metas(members[0], members[-1] + 1), strict=True))
        return known

    def _metas(self, first: int, stop: int) -> Iterator[dict[str, Any]]:
        at, text_at = self._particle_offset, self._json_offset
        with _reading(self.folder):
            table = {name: np.asarray(column[at[first] : at[stop]]) for name, column in self._columns.items()}
            text = np.asarray(self._json[text_at[first] : text_at[stop]]).tobytes()
        for row in range(first, stop):
            own = slice(text_at[row] - text_at[first], text_at[row + 1] - text_at[first])
            meta = parse_json(text[own], f"metadata of row {row} in {self.folder}")
            if "particles" not in meta:
                own = slice(at[row] - at[first], at[row + 1] - at[first])
                meta["particles"] = {name: column[own].tolist() for name, column in table.items()}
            index = self.provenance.start + row
            if (meta.get("seed"), meta.get("index")) != (self.provenance.seed, index):
                msg = (
                    f"expected sample {index} of seed {self.provenance.seed} in {self.folder}, got "
                    f"{meta.get('index')} of {meta.get('seed')}: export it again"
                )
                raise StoreError(msg)
            yield meta

    def _array(self, name: str) -> zarr.Array[Any]:
        with _reading(self.folder):
            array = self._root.get(name)
        if not isinstance(array, zarr.Array):
            damaged(str(self.folder), f"the array {name}", type(array).__name__)
        return cast("zarr.Array[Any]", array)

    def _row_array(self, name: str, more: int) -> npt.NDArray[np.int64]:
        """An array of one number a sample and some more. Raises StoreError, before it is read, if it is none."""
        array = self._array(name)
        if array.shape != (len(self) + more,) or array.dtype != np.dtype("int64"):
            damaged(f"{name} of {self.folder}", f"{len(self) + more} numbers", f"{array.dtype} {array.shape}")
        with _reading(self.folder):
            return np.asarray(array[:])

    def _check_attributes(self) -> None:
        """Raise StoreError unless the root says of itself what the description says."""
        own = self._root.attrs.get("nanostream")
        for key, value in self._sink.description().items():
            got = own.get(key) if isinstance(own, dict) else own
            if key != "versions" and got != value:
                damaged(str(self.folder), f"{key} {value!r} in its attributes as in {DESCRIPTION}", got)

    def _check_files(self) -> None:
        """Raise StoreError if a file is missing, which Zarr would read as zeros, or the metadata were changed."""
        sizes = self._sink.check_whole()
        for name, entry in self._sink.files(SET).items():
            if sizes.get(name) != entry["bytes"]:
                damaged(f"{name} of {self.folder}", f"{entry['bytes']} bytes", sizes.get(name, "no such file"))
            if name.endswith("zarr.json"):
                found = self.folder.read(name, 0, min(entry["bytes"], MAX_FIELD_BYTES))
                if hashlib.sha256(found).hexdigest() != entry["sha256"]:
                    damaged(f"{name} of {self.folder}", "metadata as its manifest says", "others")

    def _check_tables(self, index: npt.NDArray[np.int64], image: zarr.Array[Any], mask: zarr.Array[Any]) -> None:
        """Raise StoreError unless all arrays have as many rows as the store says it has."""
        count, size = len(self), self._sink.shard_size
        ends = (
            (self._particle_offset, self._columns["label"].shape[0]),
            (self._json_offset, self._json.shape[0]),
        )
        shape = image.shape[1:]
        whole = (
            image.shape == mask.shape == (count, *shape)
            and len(shape) == 2  # noqa: PLR2004 a picture has two axes
            and 2 * shape[0] * shape[1] <= MAX_FIELD_BYTES
            and image.shards == mask.shards == (size, *shape)
            and image.chunks == mask.chunks == (1, *shape)
            and (image.dtype, mask.dtype) == (np.dtype("uint8"), np.dtype("uint16"))
            and np.array_equal(index, np.arange(count) + self.provenance.start)
            and all(offset[0] == 0 and offset[-1] == end and bool((np.diff(offset) >= 0).all()) for offset, end in ends)
        )
        if not whole:
            damaged(str(self.folder), f"arrays for the {count} samples that its description states", image.shape)


def _store(folder: Folder) -> pathlib.Path | zarr.storage.FsspecStore:
    """Where Zarr reads metadata and tables: over the folder's own connection, not a second one."""
    if isinstance(folder, LocalFolder):
        return folder.path
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

    assert isinstance(folder, RemoteFolder)
    files = AsyncFileSystemWrapper(folder.files, asynchronous=True)
    return zarr.storage.FsspecStore(files, read_only=True, path=folder.root)


@contextlib.contextmanager
def _reading(folder: Folder) -> Iterator[None]:
    """Turn what Zarr and its codecs say against a store into a StoreError of one sentence."""
    try:
        yield
    except NanostreamError:
        raise
    # Codecs raise RuntimeError, ValueError, TypeError and more for a few wrong bytes.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"expected to read the Zarr store {folder}, but {reason}: export or copy it again"
        raise StoreError(msg) from error
