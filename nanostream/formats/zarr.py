"""A Zarr v3 store: one chunk a sample, many samples a shard, opened by any Zarr reader.

    folder/                  attributes `nanostream`: recipe, range, versions
      image                  (N, H, W) uint8
      mask                   (N, H, W) uint16
      index                  (N,) int64, the global sample index
      particles/offset       (N + 1,) int64: rows offset[i] .. offset[i + 1] - 1 are of sample i
      particles/<column>     (P,) one entry a particle that is seen
      meta/offset            (N + 1,) int64
      meta/json              (M,) uint8: the rest of each sample's metadata, as JSON

N = samples, P = particles, H, W = picture height and width in pixels. A missing chunk would read
as zeros without a word, and a flipped bit as another picture: empty chunks are written, and each
chunk carries its checksum.
"""

from __future__ import annotations

import itertools
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
import zarr.errors
from zarr.codecs import BloscCodec, Crc32cCodec

from nanostream.errors import StoreError
from nanostream.formats.codec import check_sample, dump_json
from nanostream.formats.disk import whole_folder, writing
from nanostream.sample import PARTICLE_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from nanostream.formats.provenance import Provenance
    from nanostream.sample import Sample

__all__ = ["COLUMN_TYPES", "KIND", "OURS", "columns_of", "write_zarr"]

KIND = "zarr"
OURS = re.compile(r"zarr\.json|image|mask|index|particles|meta")
"""Names of all that an export leaves in its folder."""

COLUMN_TYPES = {
    name: np.dtype({"label": "int64", "visible_px": "int64", "cut": "bool"}.get(name, "float64"))
    for name in PARTICLE_COLUMNS
}
"""Type of each column of the particle table."""

_SHARD_BYTES = 2**26
"""Pixels of a shard before compression, unless told: a shard is held in memory while it grows."""

_TABLE_CHUNK = 2**14


def write_zarr(
    samples: Iterable[Sample],
    folder: Path,
    *,
    provenance: Provenance,
    shard_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write the samples of one range into a new store, which has its name once it is whole.

    samples: in the order of their indices. shard_size: samples a shard, 64 MiB of pixels unless
    told; a shard is written by one call, whole. progress: called with 1 after each sample.
    Raises StoreError if a sample does not belong to the range or if writing fails; nothing stays.
    """
    stream = provenance.checked(samples)
    first = next(stream)
    check_sample(first)
    size = shard_size or max(1, _SHARD_BYTES // first.nbytes)
    size = min(size, provenance.count)
    with whole_folder(folder) as partial:
        with writing(folder):
            store = _Store(partial, first.image.shape, provenance, size)
        table = _Table()
        rest = itertools.chain([first], stream)
        for start in range(0, provenance.count, size):
            shard = []
            for sample in itertools.islice(rest, size):
                check_sample(sample)
                shard.append(sample)
                table.add(sample)
                if progress is not None:
                    progress(1)
            with writing(folder):
                store.put(start, shard)
        with writing(folder):
            store.finish(table, np.arange(provenance.start, provenance.stop))


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


class _Store:
    """The growing store."""

    def __init__(self, folder: Path, shape: tuple[int, ...], provenance: Provenance, size: int) -> None:
        self._shape = shape
        described = provenance.dump(kind=KIND, shard_size=size)
        described["versions"] |= {"zarr": zarr.__version__}
        self._root = zarr.create_group(folder, zarr_format=3, attributes={"nanostream": described})
        count = provenance.count
        self._image = self._pictures("image", count, size, "uint8", shuffle="noshuffle")
        self._mask = self._pictures("mask", count, size, "uint16", shuffle="shuffle")

    def put(self, start: int, shard: Sequence[Sample]) -> None:
        """Write one whole shard, whose first sample stands in row `start`."""
        for sample in shard:
            if sample.image.shape != self._shape:
                msg = (
                    f"expected pictures of {self._shape} pixels in one store, got "
                    f"{sample.image.shape} at index {sample.index}: export each size on its own"
                )
                raise StoreError(msg)
        rows = slice(start, start + len(shard))
        self._image[rows] = np.stack([sample.image for sample in shard])
        self._mask[rows] = np.stack([sample.mask for sample in shard])

    def finish(self, table: _Table, index: npt.NDArray[np.int64]) -> None:
        """Write what is known only at the end: tables and the consolidated metadata."""
        self._column(self._root, "index", index, "sample")
        particles = self._root.create_group("particles")
        self._column(particles, "offset", table.particle_offset(), "sample")
        for name, column in table.particles().items():
            array = self._column(particles, name, column, "particle")
            array.attrs["description"] = PARTICLE_COLUMNS[name]
        meta = self._root.create_group("meta")
        self._column(meta, "offset", table.json_offset(), "sample")
        self._column(meta, "json", table.json(), "byte")
        with warnings.catch_warnings():
            # The specification of Zarr v3 does not have it yet; readers that do not know it
            # find the same metadata array by array.
            warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
            zarr.consolidate_metadata(self._root.store)

    def _pictures(self, name: str, count: int, size: int, kind: str, *, shuffle: str) -> zarr.Array[Any]:
        return self._root.create_array(
            name,
            shape=(count, *self._shape),
            dtype=kind,
            chunks=(1, *self._shape),
            shards=(size, *self._shape),
            compressors=_compressors(np.dtype(kind).itemsize, shuffle),
            dimension_names=("sample", "y", "x"),
            config={"write_empty_chunks": True},
        )

    def _column(self, group: zarr.Group, name: str, values: npt.NDArray[Any], rows: str) -> zarr.Array[Any]:
        array = group.create_array(
            name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=(max(1, min(len(values), _TABLE_CHUNK)),),
            compressors=_compressors(values.dtype.itemsize, "shuffle"),
            dimension_names=(rows,),
            config={"write_empty_chunks": True},
        )
        if len(values):
            array[:] = values
        return array


class _Table:
    """Particles and metadata of the samples so far: about 4 kB for a sample of 50 particles."""

    def __init__(self) -> None:
        self._particles: list[dict[str, npt.NDArray[Any]]] = []
        self._json: list[bytes] = []

    def add(self, sample: Sample) -> None:
        columns = columns_of(sample.meta["particles"])
        rest = dict(sample.meta)
        if columns is None:
            # The table cannot hold these; the sample's own JSON keeps them as they are.
            columns = {name: np.empty(0, kind) for name, kind in COLUMN_TYPES.items()}
        else:
            del rest["particles"]
        self._particles.append(columns)
        self._json.append(dump_json(rest))

    def particles(self) -> dict[str, npt.NDArray[Any]]:
        return {name: np.concatenate([columns[name] for columns in self._particles]) for name in COLUMN_TYPES}

    def particle_offset(self) -> npt.NDArray[np.int64]:
        return _offset([len(columns["label"]) for columns in self._particles])

    def json(self) -> npt.NDArray[np.uint8]:
        return np.frombuffer(b"".join(self._json), np.uint8)

    def json_offset(self) -> npt.NDArray[np.int64]:
        return _offset([len(text) for text in self._json])


def _offset(lengths: Sequence[int]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def _compressors(itemsize: int, shuffle: str) -> tuple[BloscCodec, Crc32cCodec]:
    # On pictures of TiO2 level 1 is as small as level 5 and six times as fast.
    blosc = BloscCodec(typesize=itemsize, cname="zstd", clevel=1, shuffle=shuffle)  # pyright: ignore[reportArgumentType] text is what it documents
    return blosc, Crc32cCodec()
