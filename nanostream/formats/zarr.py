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

A part is one shard of `image` and of `mask`. Its particles and metadata wait in a file beside its
manifest until all parts are there. zarr.json of the root comes last: before, there is no store.
"""

from __future__ import annotations

import io
import itertools
import warnings
from typing import TYPE_CHECKING, Any, ClassVar, final

import numcodecs
import numpy as np
import zarr
import zarr.errors
import zarr.storage

from nanostream.errors import StoreError
from nanostream.formats.codec import dump_json
from nanostream.formats.sink import Sink, names_of
from nanostream.formats.zarr_table import COLUMN_TYPES, TABLE_CHUNK, Column, columns_of, compressors, packed, tables
from nanostream.sample import PARTICLE_COLUMNS

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from nanostream.formats.encoded import Encoded
    from nanostream.formats.files import Files
    from nanostream.sample import Sample

__all__ = ["NO_CHUNK", "ZarrSink", "documents", "encode"]

NO_CHUNK = 2**64 - 1
"""Offset and length, in a shard's index, of a chunk that is not there."""

_SHARD_BYTES = 2**26
"""Pixels of a shard before compression, unless told."""

_ROWS = {"particles": int, "json": int}
_PICTURES = {"image": "uint8", "mask": "uint16"}


def encode(sample: Sample) -> dict[str, bytes]:
    """Chunk of the image, chunk of the mask, columns of the particles, the rest as JSON."""
    columns = columns_of(sample.meta["particles"])
    rest = dict(sample.meta)
    if columns is None:
        # The table cannot hold these; the sample's own JSON keeps them as they are.
        columns = {name: np.empty(0, kind) for name, kind in COLUMN_TYPES.items()}
    else:
        del rest["particles"]
    return {
        "image": packed(np.ascontiguousarray(sample.image)),
        "mask": packed(np.ascontiguousarray(sample.mask, dtype="<u2")),
        "particles": b"".join(columns[name].tobytes() for name in COLUMN_TYPES),
        "json": dump_json(rest),
    }


def documents(root: zarr.Group) -> dict[str, bytes]:
    """Metadata files of a hierarchy in memory, the root's own last."""
    store = root.store
    assert isinstance(store, zarr.storage.MemoryStore)
    found = {name: value.to_bytes() for name, value in store._store_dict.items()}  # noqa: SLF001 has no other way to list
    return dict(
        sorted(found.items(), key=lambda pair: (pair[0] in {"zarr.json", ".zattrs", ".zgroup", ".zmetadata"}, pair[0]))
    )


@final
class ZarrSink(Sink):
    """A growing store; a part is one shard."""

    kind: ClassVar[str] = "zarr"
    ours: ClassVar[re.Pattern[str]] = names_of(r"zarr\.json", "image", "mask", "index", "particles", "meta")

    @staticmethod
    def default_size(one: Encoded) -> int:
        """Samples in 64 MiB of pixels."""
        return max(1, _SHARD_BYTES // (3 * one.shape[0] * one.shape[1]))

    def part_files(self, number: int) -> tuple[str, ...]:
        """Names of the shards of image and mask."""
        return tuple(f"{name}/c/{number}/0/0" for name in _PICTURES)

    def _put(self, number: int, samples: Iterable[Encoded], files: Files) -> dict[str, Any]:
        ones = list(samples)
        shapes = {one.shape for one in ones}
        if len(shapes) > 1:
            msg = f"expected pictures of one size in a store, got {sorted(shapes)}: export each size on its own"
            raise StoreError(msg)
        for name, file in zip(_PICTURES, self.part_files(number), strict=True):
            with files.open(file) as write:
                for part in _shard([one.fields[name] for one in ones], self.shard_size):
                    write(part)
        itemsize = sum(kind.itemsize for kind in COLUMN_TYPES.values())
        table = {
            "particles": np.array([len(one.fields["particles"]) // itemsize for one in ones], np.int64),
            "json": np.array([len(one.fields["json"]) for one in ones], np.int64),
            "rows": np.frombuffer(b"".join(one.fields["particles"] for one in ones), np.uint8),
            "text": np.frombuffer(b"".join(one.fields["json"] for one in ones), np.uint8),
        }
        waiting = io.BytesIO()
        np.savez(waiting, allow_pickle=False, **table)
        self.folder.put(self.waiting_name(number), waiting.getvalue())
        counts = {name: int(table[name].sum()) for name in ("particles", "json")}
        return {"shape": list(ones[0].shape), "rows": counts}

    def _close(self, files: Files) -> None:
        manifests = [self.manifest(number) for number in range(self.parts)]
        shapes = {tuple(manifest["shape"]) for manifest in manifests}
        if len(shapes) > 1:
            msg = f"expected pictures of one size in a store, got {sorted(shapes)}: export each size on its own"
            raise StoreError(msg)
        rows = {name: sum(manifest["rows"][name] for manifest in manifests) for name in ("particles", "json")}
        columns = {f"particles/{name}": Column(f"particles/{name}", kind, files) for name, kind in COLUMN_TYPES.items()}
        text = Column("meta/json", np.dtype("uint8"), files)
        counts: dict[str, list[npt.NDArray[np.int64]]] = {"particles": [], "json": []}
        for number in range(self.parts):
            table = np.load(io.BytesIO(self.folder.read(self.waiting_name(number))), allow_pickle=False)
            for name, some in counts.items():
                some.append(table[name])
            for one in tables(table["particles"], table["rows"].tobytes()):
                for name, values in one.items():
                    columns[f"particles/{name}"].add(values)
            text.add(table["text"])
        count = self.provenance.count
        small = {
            "index": np.arange(self.provenance.start, self.provenance.stop, dtype=np.int64),
            "particles/offset": _offset(counts["particles"]),
            "meta/offset": _offset(counts["json"]),
        }
        for name, values in small.items():
            column = Column(name, values.dtype, files)
            column.add(values)
            column.end()
        for column in (*columns.values(), text):
            column.end()
        for name, document in documents(self._metadata(count, next(iter(shapes)), rows)).items():
            if name == "zarr.json":
                # Others know the store by it: nothing may be missing from then on.
                self.folder.flush()
            files.put(name, document)

    def _fits(self, number: int, manifest: dict[str, Any], files: dict[str, dict[str, Any]]) -> bool:
        rows, shape = manifest.get("rows"), manifest.get("shape")
        counted = isinstance(rows, dict) and {name: type(value) for name, value in rows.items()} == _ROWS
        return counted and isinstance(shape, list) and files.keys() == set(self.part_files(number))

    def _metadata(self, count: int, shape: tuple[int, ...], rows: dict[str, int]) -> zarr.Group:
        """The hierarchy without its chunks."""
        described = self.description()
        described["versions"] |= {"zarr": zarr.__version__}
        store = zarr.storage.MemoryStore()
        root = zarr.create_group(store, zarr_format=3, attributes={"nanostream": described})
        for name, kind in _PICTURES.items():
            root.create_array(
                name,
                shape=(count, *shape),
                dtype=kind,
                chunks=(1, *shape),
                shards=(self.shard_size, *shape),
                compressors=compressors(np.dtype(kind).itemsize),
                dimension_names=("sample", "y", "x"),
            )
        _column_array(root, "index", count, np.dtype("int64"), "sample")
        particles, meta = root.create_group("particles"), root.create_group("meta")
        _column_array(particles, "offset", count + 1, np.dtype("int64"), "sample")
        for name, kind in COLUMN_TYPES.items():
            array = _column_array(particles, name, rows["particles"], kind, "particle")
            array.attrs["description"] = PARTICLE_COLUMNS[name]
        _column_array(meta, "offset", count + 1, np.dtype("int64"), "sample")
        _column_array(meta, "json", rows["json"], np.dtype("uint8"), "byte")
        with warnings.catch_warnings():
            # The specification of Zarr v3 does not have it yet; readers that do not know it
            # find the same metadata array by array.
            warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
            zarr.consolidate_metadata(store)
        return root


def _column_array(group: zarr.Group, name: str, length: int, kind: np.dtype[Any], rows: str) -> zarr.Array[Any]:
    return group.create_array(
        name,
        shape=(length,),
        dtype=kind,
        chunks=(max(1, min(length, TABLE_CHUNK)),),
        compressors=compressors(kind.itemsize),
        dimension_names=(rows,),
    )


def _shard(chunks: Sequence[bytes], size: int) -> Iterator[bytes]:
    """A shard of `size` chunks, of which these are the first: chunks, index, checksum of the index.

    The index is an array of (size, 2) little-endian uint64, offset and length of each chunk: the
    codec `sharding_indexed` of Zarr v3, section "Binary shard format".
    """
    index = np.full((size, 2), NO_CHUNK, "<u8")
    lengths = np.array([len(chunk) for chunk in chunks], np.uint64)
    index[: len(chunks), 0] = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    index[: len(chunks), 1] = lengths
    return itertools.chain(chunks, [bytes(numcodecs.CRC32C(location="end").encode(index.tobytes()))])


def _offset(lengths: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.concatenate(lengths), dtype=np.int64)]).astype(np.int64)
