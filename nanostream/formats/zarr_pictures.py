"""The pictures of a Zarr store's array, by row: one read at a place that the shard's index gives.

One checksum and one decompression, without the layers that a call of Zarr goes through.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn, final

import numcodecs
import numcodecs.blosc
import numpy as np

from nanostream.formats.codec import MAX_FIELD_BYTES
from nanostream.formats.seal import damaged
from nanostream.formats.zarr import NO_CHUNK

if TYPE_CHECKING:
    from typing import BinaryIO

    import numpy.typing as npt
    import zarr

    from nanostream.formats.cache import Cache
    from nanostream.formats.zarr import ZarrSink

__all__ = ["Pictures"]

_OPEN_SHARDS = 16
_CHECKSUM_BYTES = 4
_INDEX_TYPE = np.dtype("<u8")


@final
class Pictures:
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
        picture = np.empty(self._shape, self._type)
        try:
            chunk = os.pread(file.fileno(), min(length, MAX_FIELD_BYTES), offset) if offset < NO_CHUNK else b""
            if len(chunk) != length or int.from_bytes(chunk[4:8], "little") != picture.nbytes:
                self._damaged(number, f"a chunk of {picture.nbytes} bytes for row {row}", f"{len(chunk)} packed bytes")
            self._blosc.decode(_checked(chunk), out=picture)
        # Blosc raises RuntimeError and more for bytes that are none of its own, pread for places that cannot be.
        except (RuntimeError, ValueError, TypeError, OverflowError) as error:
            self._damaged(number, f"a chunk for row {row}", error)
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
            self._damaged(number, "an index with its checksum at the end", "another")
        while len(self._shards) >= _OPEN_SHARDS:
            self._shards.pop(next(iter(self._shards)))[0].close()
        self._shards[number] = file, index.reshape(-1, 2)
        return self._shards[number]

    def _damaged(self, number: int, expected: str, got: object) -> NoReturn:
        damaged(f"{self._name}/c/{number}/0/0 of {self._sink.folder}", expected, got)


def _checked(data: bytes) -> bytes:
    """The data without its CRC-32C. Raises ValueError where that differs."""
    content = data[:-_CHECKSUM_BYTES]
    if bytes(numcodecs.CRC32C(location="end").encode(content)[-_CHECKSUM_BYTES:]) != data[-_CHECKSUM_BYTES:]:
        msg = "the checksum differs"
        raise ValueError(msg)
    return content
