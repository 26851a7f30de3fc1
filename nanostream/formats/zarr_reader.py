"""A Zarr store read back: the samples that `zarr.py` wrote, by row, in any order.

Zarr itself reads metadata and tables. A picture is one read at a place that the shard's index gives,
one checksum and one decompression, without the layers that a call of Zarr goes through.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast, final

import numcodecs
import numcodecs.blosc
import numpy as np
import zarr
import zarr.errors

from nanostream.errors import NanostreamError, StoreError
from nanostream.formats.cache import CACHE_BYTES, Cache
from nanostream.formats.codec import MAX_FIELD_BYTES, parse_json
from nanostream.formats.folder import LocalFolder, open_folder
from nanostream.formats.provenance import Provenance
from nanostream.formats.sink import DESCRIPTION, read_json
from nanostream.formats.zarr import KIND, NO_CHUNK, ZarrSink
from nanostream.formats.zarr_table import COLUMN_TYPES
from nanostream.sample import Sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    import numpy.typing as npt

    from nanostream.formats.folder import Folder

__all__ = ["ZarrReader"]

_TABLE_ROWS = 32
"""Samples whose metadata is read in one go."""

_OPEN_SHARDS = 16
_CHECKSUM_BYTES = 4
_BLOSC_HEADER_BYTES = 16
_INDEX_TYPE = np.dtype("<u8")


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
        described = read_json(self.folder, DESCRIPTION)
        self.provenance, size = Provenance.parse(described, kind=KIND, name=f"{DESCRIPTION} of {self.folder}")
        self._sink = ZarrSink(self.folder, self.provenance, shard_size=size)
        local = self.folder.path if isinstance(self.folder, LocalFolder) else str(self.folder)
        with _reading(self.folder):
            self._root = zarr.open_group(local, mode="r", zarr_format=3)
        self._check_attributes(described)
        image, mask = self._array("image"), self._array("mask")
        self._columns = {name: self._array(f"particles/{name}") for name in COLUMN_TYPES}
        self._json = self._array("meta/json")
        self._check_files()
        with _reading(self.folder):
            self._particle_offset = np.asarray(self._array("particles/offset")[:])
            self._json_offset = np.asarray(self._array("meta/offset")[:])
            index = np.asarray(self._array("index")[:])
        self._check_tables(index, image, mask)
        files = Cache(self.folder, where=cache, limit_bytes=cache_bytes)
        self._image = _Pictures(self._sink, files, "image", image)
        self._mask = _Pictures(self._sink, files, "mask", mask)

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
            msg = f"{self.folder} is damaged: expected the array {name}; export or copy it again"
            raise StoreError(msg)
        return cast("zarr.Array[Any]", array)

    def _check_attributes(self, described: dict[str, Any]) -> None:
        """Raise StoreError unless the root says of itself what the description says."""
        own = self._root.attrs.get("nanostream")
        for key, value in described.items():
            if key != "versions" and (not isinstance(own, dict) or own.get(key) != value):
                msg = (
                    f"{self.folder} is damaged: expected {key} {value!r} in its attributes as in {DESCRIPTION}, got "
                    f"{own.get(key) if isinstance(own, dict) else own!r}; export or copy it again"
                )
                raise StoreError(msg)

    def _check_files(self) -> None:
        """Raise StoreError if a file is missing or empty: Zarr would read it as zeros."""
        sizes = self.folder.sizes()
        wanted = list(self._sink.manifest_names())
        if wanted[-1] in sizes:
            wanted += self._sink.files(wanted[-1])
        for number in range(self._sink.parts):
            wanted += [f"{name}/c/{number}/0/0" for name in ("image", "mask")]
        for name in wanted:
            if not sizes.get(name):
                msg = f"{self.folder} is damaged: {name} is missing or empty; export or copy it again"
                raise StoreError(msg)

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
            and all(
                len(offset) == count + 1 and offset[0] == 0 and offset[-1] == end and bool((np.diff(offset) >= 0).all())
                for offset, end in ends
            )
        )
        if not whole:
            msg = (
                f"{self.folder} is damaged: expected arrays for the {count} samples that its "
                "description states; export or copy it again"
            )
            raise StoreError(msg)


class _Pictures:
    """The pictures of one array, by row."""

    def __init__(self, sink: ZarrSink, cache: Cache, name: str, array: zarr.Array[Any]) -> None:
        self._sink = sink
        self._cache = cache
        self._name = name
        self._shape = array.shape[1:]
        self._type = np.dtype(array.dtype).newbyteorder("<")
        self._shards: dict[int, tuple[BinaryIO, npt.NDArray[np.uint64]]] = {}
        self._blosc = numcodecs.Blosc()

    def __getitem__(self, row: int) -> npt.NDArray[Any]:
        number, place = divmod(row, self._sink.shard_size)
        file, index = self._shards.get(number) or self._open(number)
        offset, length = index[place].tolist()
        chunk = os.pread(file.fileno(), min(length, MAX_FIELD_BYTES), offset) if offset < NO_CHUNK else b""
        picture = np.empty(self._shape, self._type)
        size = int.from_bytes(chunk[4:8], "little") if len(chunk) > _BLOSC_HEADER_BYTES + _CHECKSUM_BYTES else -1
        if len(chunk) != length or size != picture.nbytes:
            self._damaged(number, f"a chunk of {picture.nbytes} bytes for row {row}, got {len(chunk)} packed bytes")
        try:
            self._blosc.decode(_checked(chunk), out=picture)
        # Blosc raises RuntimeError and ValueError for bytes that are none of its own.
        except (RuntimeError, ValueError, TypeError) as error:
            self._damaged(number, f"a chunk for row {row}, got one that cannot be read ({error})")
        return picture.astype(self._type.newbyteorder("="), copy=False)

    def __del__(self) -> None:
        for file, _ in self._shards.values():
            file.close()

    def _open(self, number: int) -> tuple[BinaryIO, npt.NDArray[np.uint64]]:
        name = f"{self._name}/c/{number}/0/0"
        entry = self._sink.manifest(number)["files"][name]
        # Each chunk carries a checksum of its own, so a sample need not wait for its whole shard's.
        file = self._cache.open(name, entry, hashed=False)
        nbytes = self._sink.shard_size * 2 * _INDEX_TYPE.itemsize + _CHECKSUM_BYTES
        try:
            size = os.fstat(file.fileno()).st_size
            index = np.frombuffer(_checked(os.pread(file.fileno(), nbytes, max(0, size - nbytes))), _INDEX_TYPE)
        except ValueError:
            file.close()
            self._damaged(number, "an index with its checksum at the end")
        while len(self._shards) >= _OPEN_SHARDS:
            self._shards.pop(next(iter(self._shards)))[0].close()
        self._shards[number] = file, index.reshape(-1, 2)
        return self._shards[number]

    def _damaged(self, number: int, expected: str) -> NoReturn:
        name = f"{self._name}/c/{number}/0/0 of {self._sink.folder}"
        msg = f"{name} is damaged: expected {expected}; export or copy it again"
        raise StoreError(msg) from None


def _checked(data: bytes) -> bytes:
    """The data without its CRC-32C. Raises ValueError where that differs."""
    content = data[:-_CHECKSUM_BYTES]
    if bytes(numcodecs.CRC32C(location="end").encode(content)[-_CHECKSUM_BYTES:]) != data[-_CHECKSUM_BYTES:]:
        msg = "the checksum differs"
        raise ValueError(msg)
    return content


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
