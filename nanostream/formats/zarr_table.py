"""The columns of a Zarr store's particle table, and how a chunk's values become its bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numcodecs
import numcodecs.blosc
import numpy as np
from zarr.codecs import BloscCodec, Crc32cCodec

from nanostream.formats.codec import dump_json
from nanostream.sample import PARTICLE_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from nanostream.formats.files import Files

__all__ = ["COLUMN_TYPES", "TABLE_CHUNK", "Column", "columns_of", "compressors", "packed", "tables"]

COLUMN_TYPES = {
    name: np.dtype({"label": "int64", "visible_px": "int64", "cut": "bool"}.get(name, "float64"))
    for name in PARTICLE_COLUMNS
}
"""Type of each column of the particle table."""

TABLE_CHUNK = 2**14
"""Rows of a chunk of a column."""


def packed(values: npt.NDArray[Any], *, checksum: bool = True) -> bytes:
    """A chunk's values as `compressors` give them."""
    # On pictures of TiO2 level 1 is as small as level 5 and eight times as fast; shuffling the
    # bytes of labels saves a tenth.
    shuffle = numcodecs.Blosc.NOSHUFFLE if values.dtype.itemsize == 1 else numcodecs.Blosc.SHUFFLE
    chunk = bytes(numcodecs.Blosc(cname="zstd", clevel=1, shuffle=shuffle).encode(values))
    return bytes(numcodecs.CRC32C(location="end").encode(chunk)) if checksum else chunk


def compressors(itemsize: int) -> tuple[BloscCodec, Crc32cCodec]:
    """The codecs of `packed`, as Zarr's metadata names them."""
    shuffle: Any = "noshuffle" if itemsize == 1 else "shuffle"
    return BloscCodec(typesize=itemsize, cname="zstd", clevel=1, shuffle=shuffle), Crc32cCodec()


def columns_of(particles: dict[str, Any]) -> dict[str, npt.NDArray[Any]] | None:
    """Columns of the table, or None where they would not give back exactly what came."""
    if particles.keys() != COLUMN_TYPES.keys():
        return None
    try:
        columns = {name: np.asarray(particles[name], kind) for name, kind in COLUMN_TYPES.items()}
    except (TypeError, ValueError, OverflowError):
        return None
    if len({column.shape for column in columns.values()}) > 1 or columns["label"].ndim != 1:
        return None
    same = dump_json({name: column.tolist() for name, column in columns.items()})
    return columns if same == dump_json(particles) else None


class Column:
    """An array of one axis whose chunks are written as its values come."""

    def __init__(self, name: str, kind: np.dtype[Any], files: Files) -> None:
        self._name = name
        self._kind = kind
        self._files = files
        self._waiting: list[npt.NDArray[Any]] = []
        self._length = 0
        self._chunks = 0

    def add(self, values: npt.NDArray[Any]) -> None:
        """Go on with these values."""
        self._waiting.append(values)
        self._length += len(values)
        if self._length >= TABLE_CHUNK:
            whole = np.concatenate(self._waiting)
            for start in range(0, len(whole) - TABLE_CHUNK + 1, TABLE_CHUNK):
                self._put(whole[start : start + TABLE_CHUNK])
            self._waiting = [whole[len(whole) // TABLE_CHUNK * TABLE_CHUNK :].copy()]
            self._length = len(self._waiting[0])

    def end(self) -> None:
        """Write what is left; a chunk at the end is filled up, unless it is the only one."""
        if not self._length:
            return
        last = np.concatenate(self._waiting)
        self._put(np.pad(last, (0, TABLE_CHUNK - len(last))) if self._chunks else last)

    def _put(self, values: npt.NDArray[Any]) -> None:
        name = f"{self._name}/c/{self._chunks}"
        self._files.put(name, packed(np.ascontiguousarray(values, dtype=self._kind)))
        self._chunks += 1


def tables(counts: npt.NDArray[np.int64], rows: bytes) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Columns of each sample's particles, from the bytes that `encode` gave."""
    at = 0
    for count in counts.tolist():
        table = {}
        for name, kind in COLUMN_TYPES.items():
            table[name] = np.frombuffer(rows, kind, count, at)
            at += count * kind.itemsize
        yield table
