"""A Zarr store read back: the samples that `zarr.py` wrote, by row, in any order."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import zarr
import zarr.errors

from nanostream.errors import NanostreamError, StoreError
from nanostream.formats.codec import parse_json
from nanostream.formats.provenance import Provenance
from nanostream.formats.zarr import COLUMN_TYPES, KIND
from nanostream.sample import Sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["ZarrReader"]

_ROWS_AT_ONCE = 32
"""Rows asked for in one go: neighbours among them cost one call of Zarr for all."""


class ZarrReader:
    """Samples of a store, by row: row 0 is the sample of the first index.

    Raises StoreError if the folder is no store of nanostream's, or if a part of it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder
        with _reading(folder):
            self._root = zarr.open_group(folder, mode="r", zarr_format=3)
        described = self._root.attrs.get("nanostream")
        if not isinstance(described, dict):
            msg = f"expected a Zarr store that nanostream wrote, got {folder}: name another folder"
            raise StoreError(msg)
        self.provenance, _ = Provenance.parse(
            cast("dict[str, Any]", described), kind=KIND, name=f"the attributes of {folder}"
        )
        self._image, self._mask = self._array("image"), self._array("mask")
        self._columns = {name: self._array(f"particles/{name}") for name in COLUMN_TYPES}
        self._json = self._array("meta/json")
        self._check_files()
        with _reading(folder):
            self._particle_offset = np.asarray(self._array("particles/offset")[:])
            self._json_offset = np.asarray(self._array("meta/offset")[:])
            index = np.asarray(self._array("index")[:])
        self._check_tables(index)

    def __len__(self) -> int:
        """Samples in the store."""
        return self.provenance.count

    def samples(self, rows: Iterable[int], *, meta: bool = True) -> Iterator[Sample]:
        """Samples of the rows, in the order asked for; meta: whether their metadata is wanted.

        Without it the metadata keeps only `seed` and `index`. Raises StoreError where a chunk is
        damaged, or a row is none.
        """
        wanted = iter(rows)
        while some := list(itertools.islice(wanted, _ROWS_AT_ONCE)):
            if not 0 <= min(some) <= max(some) < len(self):
                msg = f"expected rows from 0 to {len(self) - 1} of {self.folder}, got {some}"
                raise StoreError(msg)
            # A row that follows its neighbour keeps the same distance to its place in the list.
            runs = itertools.groupby(enumerate(some), lambda pair: pair[1] - pair[0])
            for _, run in runs:
                members = [row for _, row in run]
                yield from self._run(members[0], members[-1] + 1, meta=meta)

    def _run(self, first: int, stop: int, *, meta: bool) -> Iterator[Sample]:
        with _reading(self.folder):
            images = np.asarray(self._image[first:stop])
            masks = np.asarray(self._mask[first:stop])
        metas = self._metas(first, stop) if meta else itertools.repeat(None)
        for row, image, mask, known in zip(range(first, stop), images, masks, metas, strict=False):
            seed, index = self.provenance.seed, self.provenance.start + row
            if known is None:
                known = {"seed": seed, "index": index}  # noqa: PLW2901 what is known without reading
            # Copies, so that a sample that is kept does not keep its whole run.
            yield Sample(seed=seed, index=index, image=image.copy(), mask=mask.copy(), meta=known)

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

    def _check_files(self) -> None:
        """Raise StoreError if a shard or chunk is missing or empty: Zarr would read it as zeros."""
        for array in (self._image, self._mask, self._json, *self._columns.values()):
            rows = (array.shards or array.chunks)[0]
            for number in range(-(-array.shape[0] // rows)):
                place = (number, *(0 for _ in array.shape[1:]))
                key = f"{array.path}/{array.metadata.encode_chunk_key(place)}"
                file = self.folder / key
                if not file.is_file() or not file.stat().st_size:
                    msg = f"{self.folder} is damaged: {key} is missing or empty; export or copy it again"
                    raise StoreError(msg)

    def _check_tables(self, index: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        """Raise StoreError unless all arrays have as many rows as the store says it has."""
        count = len(self)
        ends = (
            (self._particle_offset, self._columns["label"].shape[0]),
            (self._json_offset, self._json.shape[0]),
        )
        whole = (
            self._image.shape == self._mask.shape == (count, *self._image.shape[1:])
            and np.array_equal(index, np.arange(count) + self.provenance.start)
            and all(
                len(offset) == count + 1 and offset[0] == 0 and offset[-1] == end and bool((np.diff(offset) >= 0).all())
                for offset, end in ends
            )
        )
        if not whole:
            msg = (
                f"{self.folder} is damaged: expected arrays for the {count} samples that its "
                "attributes state; export or copy it again"
            )
            raise StoreError(msg)


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[None]:
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
