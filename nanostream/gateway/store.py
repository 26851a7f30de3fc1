"""A Zarr store that is nowhere: its metadata, and the chunks of a sample when they are asked for.

    image, mask             (N, H, W) uint8 and uint16, one chunk a sample, the bytes of an exported store's chunks
    index                   (N,) int64, the sample's index: i
    particles/count         (N,) int32, particles that are seen
    particles/<column>      (N, P): the first P of them; the rest of a row is 0, False or NaN

N = SAMPLES, P = MOST_PARTICLES, H, W = picture height and width. Metadata is consolidated and nothing is
sharded, so a sample is one GET. Inside the shape every chunk is there: Zarr reads what is not as zeros.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
import zarr.errors
import zarr.storage

from nanostream.formats.zarr import documents
from nanostream.formats.zarr_table import COLUMN_TYPES, TABLE_CHUNK, compressors, packed
from nanostream.sample import PARTICLE_COLUMNS

if TYPE_CHECKING:
    import numpy.typing as npt

    from nanostream.sample import Sample

__all__ = ["MOST_PARTICLES", "SAMPLES", "column_chunk", "hierarchy", "index_chunk", "place_of"]

SAMPLES = 1_000_000
"""Samples of a seed that the store shows."""

MOST_PARTICLES = 1024
"""Rows of a sample's particle table."""

_COUNT = np.dtype("int32")
_PLACE = re.compile(
    r"(?P<array>image|mask|particles/[a-z_]{1,20})/c/(?P<row>0|[1-9][0-9]{0,6})(?P<rest>/0/0|/0|)|index/c/(?P<part>[0-9]{1,4})"
)


def place_of(path: str) -> tuple[str, int] | None:
    """Array and row of the chunk at a path of the store, ("index", part) for a chunk of indices, or None."""
    found = _PLACE.fullmatch(path)
    if found is None:
        return None
    if found["part"] is not None:
        part = int(found["part"])
        return ("index", part) if str(part) == found["part"] and part * TABLE_CHUNK < SAMPLES else None
    array, row = found["array"], int(found["row"])
    column = array.removeprefix("particles/")
    known = column in COLUMN_TYPES or column == "count" or array in {"image", "mask"}
    rest = "/0/0" if array in {"image", "mask"} else "" if column == "count" else "/0"
    return (array, row) if known and found["rest"] == rest and row < SAMPLES else None


def index_chunk(part: int) -> bytes:
    """A chunk of the array `index`."""
    return packed(np.arange(part * TABLE_CHUNK, (part + 1) * TABLE_CHUNK, dtype=np.int64))


def column_chunk(sample: Sample, name: str) -> bytes:
    """A sample's chunk of `particles/<name>`."""
    particles = sample.meta["particles"]
    if name == "count":
        return packed(np.array([len(particles["label"])], _COUNT))
    kind = COLUMN_TYPES[name]
    values: npt.NDArray[Any] = np.full(MOST_PARTICLES, _padding(kind), kind)
    known = np.asarray(particles.get(name, ()), kind)[:MOST_PARTICLES]
    values[: len(known)] = known
    return packed(values)


def hierarchy(*, shape: tuple[int, int], about: dict[str, Any]) -> dict[str, bytes]:
    """Metadata documents by path. shape: height and width. about: the root's attribute `nanostream`."""
    store = zarr.storage.MemoryStore()
    root = zarr.create_group(store, zarr_format=3, attributes={"nanostream": about})
    for name, kind in (("image", "uint8"), ("mask", "uint16")):
        root.create_array(
            name,
            shape=(SAMPLES, *shape),
            dtype=kind,
            chunks=(1, *shape),
            compressors=compressors(np.dtype(kind).itemsize),
            dimension_names=("sample", "y", "x"),
        )
    small: dict[str, Any] = {"dimension_names": ("sample",), "compressors": compressors(8)}
    root.create_array("index", shape=(SAMPLES,), dtype="int64", chunks=(TABLE_CHUNK,), **small)
    particles = root.create_group("particles", attributes={"most": MOST_PARTICLES})
    small["compressors"] = compressors(_COUNT.itemsize)
    particles.create_array("count", shape=(SAMPLES,), dtype=_COUNT, chunks=(1,), **small)
    for name, kind in COLUMN_TYPES.items():
        column = particles.create_array(
            name,
            shape=(SAMPLES, MOST_PARTICLES),
            dtype=kind,
            chunks=(1, MOST_PARTICLES),
            fill_value=_padding(kind),
            compressors=compressors(kind.itemsize),
            dimension_names=("sample", "particle"),
        )
        column.attrs["description"] = PARTICLE_COLUMNS[name]
    with warnings.catch_warnings():
        # The specification of Zarr v3 does not have it yet; readers that do not know it ask array by array.
        warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
        zarr.consolidate_metadata(store)
    return documents(root)


def _padding(kind: np.dtype[Any]) -> Any:
    return np.nan if kind.kind == "f" else kind.type(0)
