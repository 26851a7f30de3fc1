"""A Zarr store: by our reader and by zarr-python; whole or not at all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import zarr
from stored_samples import COUNT, SHARD, START, contents, provenance, sample, samples

from nanostream.errors import StoreError
from nanostream.formats.sinks import write_samples
from nanostream.formats.zarr_reader import ZarrReader
from nanostream.formats.zarr_table import COLUMN_TYPES, columns_of
from nanostream.sample import PARTICLE_COLUMNS, Sample

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    out = tmp_path / "set"
    write_samples("zarr", samples(), out, provenance=provenance(), shard_size=SHARD)
    return out


def test_zarr_python_opens_it(folder: pathlib.Path) -> None:
    """zarr-python finds arrays, chunks, shards, names and provenance, and the pixels are the samples'."""
    root = zarr.open_group(folder, mode="r")
    assert root.metadata.consolidated_metadata is not None
    image, mask, index = (root[name] for name in ("image", "mask", "index"))
    assert isinstance(image, zarr.Array)
    assert isinstance(mask, zarr.Array)
    assert isinstance(index, zarr.Array)
    assert (image.shape, image.dtype, mask.shape, mask.dtype) == (
        (COUNT, 24, 32),
        np.dtype("uint8"),
        (COUNT, 24, 32),
        np.dtype("uint16"),
    )
    assert (mask.chunks, mask.shards) == ((1, 24, 32), (SHARD, 24, 32))
    assert mask.metadata.dimension_names == ("sample", "y", "x")
    described: Any = root.attrs["nanostream"]
    assert (described["recipe"], described["seed"], described["start"]) == ({"name": "x"}, 3, START)
    assert {"zarr", "numpy", "nanostream"} <= described["versions"].keys()
    for row in (17, 0, 22, 8, 7):
        one = sample(START + row)
        assert (np.asarray(image[row]) == one.image).all()
        assert (np.asarray(mask[row]) == one.mask).all()
        assert index[row] == one.index


def test_particle_table_is_ragged(folder: pathlib.Path) -> None:
    """Rows offset[i] .. offset[i + 1] of each column are the particles of sample i, with fitting types."""
    root = zarr.open_group(folder, mode="r")
    offset: Any = np.asarray(root["particles/offset"][:])  # pyright: ignore[reportIndexIssue]
    assert len(offset) == COUNT + 1
    for name, kind in COLUMN_TYPES.items():
        column: Any = root[f"particles/{name}"]
        assert column.dtype == kind
        assert column.attrs["description"] == PARTICLE_COLUMNS[name]
        for row, one in enumerate(samples()):
            assert column[offset[row] : offset[row + 1]].tolist() == one.meta["particles"][name]


def test_one_file_a_shard(folder: pathlib.Path) -> None:
    """Pictures and masks lie in one file a shard each."""
    for name in ("image", "mask"):
        files = sorted(path.name for path in (folder / name / "c").iterdir())
        assert files == ["0", "1", "2"]


def test_same_range_gives_same_bytes(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Every file of a second export of the same samples is byte-identical."""
    write_samples("zarr", iter(samples()), tmp_path / "again", provenance=provenance(), shard_size=SHARD)
    assert contents(tmp_path / "again") == contents(folder)


@pytest.mark.parametrize("shard_size", [1, COUNT, 1000, None])
def test_any_shard_size_gives_the_same_samples(tmp_path: pathlib.Path, shard_size: int | None) -> None:
    """The shard size changes no sample."""
    write_samples("zarr", samples(), tmp_path / "set", provenance=provenance(), shard_size=shard_size)
    got = [s.digest() for s in ZarrReader(tmp_path / "set").samples(range(COUNT))]
    assert got == [s.digest() for s in samples()]


@pytest.mark.parametrize("rows", [[22, 0, 8, 7, 7, 9], [3], range(20, 2, -3), [*range(23), *range(23)], []])
def test_reader_takes_rows_in_any_order(folder: pathlib.Path, rows: Any) -> None:
    """Rows may skip, fall and repeat; each sample has its digest, and arrays of its own."""
    reader = ZarrReader(folder)
    got = list(reader.samples(rows))
    assert [s.digest() for s in got] == [sample(START + row).digest() for row in rows]
    assert all(s.image.base is None and s.mask.flags.writeable for s in got)


def test_row_out_of_range_is_refused(folder: pathlib.Path) -> None:
    """A row that the store does not have is a StoreError."""
    for row in (-1, COUNT):
        with pytest.raises(StoreError, match="expected rows from 0 to 22"):
            list(ZarrReader(folder).samples([row]))


_PARTICLES = st.one_of(
    st.fixed_dictionaries({name: st.lists(st.floats(-1, 1), min_size=2, max_size=2) for name in PARTICLE_COLUMNS}),
    st.fixed_dictionaries(
        {
            name: {"b": st.just([True, False]), "i": st.just([1, 2**60])}.get(kind.kind, st.just([0.5, -0.0]))
            for name, kind in COLUMN_TYPES.items()
        }
    ),
    st.dictionaries(st.text(max_size=4), st.lists(st.integers() | st.none() | st.text(max_size=3), max_size=3)),
    st.fixed_dictionaries({name: st.lists(st.integers(0, 3), max_size=2) for name in PARTICLE_COLUMNS}),
)


@hypothesis.settings(max_examples=15)
@hypothesis.given(st.lists(_PARTICLES, min_size=1, max_size=4))
def test_any_metadata_keeps_its_digest(tmp_path_factory: pytest.TempPathFactory, tables: list[dict[str, Any]]) -> None:
    """Particles that fit the table's columns, and those that do not, come back as they were."""
    ones = [
        Sample(seed=3, index=i, image=one.image, mask=one.mask, meta={**one.meta, "index": i, "particles": table})
        for i, table in enumerate(tables)
        for one in [sample(i, shape=(4, 4))]
    ]
    out = tmp_path_factory.mktemp("sets") / "set"
    write_samples("zarr", ones, out, provenance=provenance(start=0, count=len(ones)))
    got = [s.digest() for s in ZarrReader(out).samples(range(len(ones)))]
    assert got == [s.digest() for s in ones]


def test_table_refuses_what_it_would_change() -> None:
    """Columns of the wrong type, length or name are not put into the table."""
    good: dict[str, Any] = sample(6).meta["particles"]
    assert columns_of(good) is not None
    for change in (
        {"x_px": [1]},
        {"label": [1.0]},
        {"cut": [1]},
        {"extra": []},
        {"label": [1, 2, 3, 4, 5]},
        {"label": [2**70]},
        {"label": None},
        {"x_px": [[1.0]]},
    ):
        assert columns_of({**good, **change}) is None


@pytest.mark.parametrize("lost", ["zarr.json", "image/c/1/0/0", "mask/c/2/0/0", "particles/x_px/c/0", "meta/json/c/0"])
def test_missing_chunk_is_named(folder: pathlib.Path, lost: str) -> None:
    """A store that lacks a file, which Zarr would read as zeros, does not open."""
    (folder / lost).unlink()
    with pytest.raises(StoreError, match=rf"{lost} .*(missing|no such file)"):
        ZarrReader(folder)


@pytest.mark.parametrize("name", ["image", "mask"])
def test_flipped_or_cut_shard_is_an_error(folder: pathlib.Path, name: str) -> None:
    """A byte flipped anywhere in a shard, or a shard cut off, is a StoreError or changes no sample."""
    shard = folder / name / "c" / "1" / "0" / "0"
    whole = shard.read_bytes()
    expected = [sample(START + row).digest() for row in range(8, 16)]
    for place in range(0, len(whole), max(1, len(whole) // 25)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x40
        shard.write_bytes(damaged)
        with pytest.raises(StoreError, match=rf"{name}/c/1/0/0 of .* is damaged"):
            list(ZarrReader(folder).samples(range(8, 16)))
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        shard.write_bytes(whole[:length])
        with pytest.raises(StoreError, match=r"is damaged: expected \d+ bytes|missing or empty"):
            list(ZarrReader(folder).samples(range(8, 16)))
    shard.write_bytes(whole)
    assert [s.digest() for s in ZarrReader(folder).samples(range(8, 16))] == expected


def test_other_stores_are_refused(tmp_path: pathlib.Path) -> None:
    """A Zarr store of someone else's, no store, and no folder are StoreErrors that say so."""
    zarr.create_group(tmp_path / "other", attributes={"by": "someone"})
    (tmp_path / "empty").mkdir()
    for name in ("other", "empty", "none"):
        with pytest.raises(StoreError, match=r"expected to read .*name a folder that export wrote"):
            ZarrReader(tmp_path / name)


def test_attributes_that_lie_are_refused(folder: pathlib.Path) -> None:
    """Attributes that state another count or start than the arrays hold are a StoreError."""
    path = folder / "zarr.json"
    values = json.loads(path.read_bytes())
    for key, value in (("count", 22), ("start", 6), ("kind", "webdataset")):
        changed = json.loads(json.dumps(values))
        changed["attributes"]["nanostream"][key] = value
        path.write_text(json.dumps(changed))
        with pytest.raises(StoreError, match=r"is damaged|to describe a zarr export"):
            ZarrReader(folder)


def test_failed_store_does_not_open(tmp_path: pathlib.Path) -> None:
    """When samples end early, fail or differ in size, whole shards stay, and nothing that opens as a store."""

    def failing() -> Iterator[Sample]:
        yield from samples()[:10]
        raise ConnectionResetError(104, "a worker is gone")

    sizes = [*samples()[:10], sample(START + 10, shape=(8, 8)), *samples()[11:]]
    streams = (samples()[:10], "got 10"), (failing(), "a worker is gone"), (sizes, "expected pictures of one size")
    for number, (stream, error) in enumerate(streams):
        folder = tmp_path / str(number)
        with pytest.raises(OSError, match=error):
            write_samples("zarr", stream, folder, provenance=provenance(), shard_size=SHARD)
        assert sorted(name for name in contents(folder) if "/c/" in name) == ["image/c/0/0/0", "mask/c/0/0/0"]
        with pytest.raises(StoreError, match=r"expected 3 parts with their manifests .* is missing"):
            ZarrReader(folder)


def test_store_without_particles(tmp_path: pathlib.Path) -> None:
    """Pictures without a single particle make a store that reads back."""
    particles: dict[str, list[Any]] = {name: [] for name in PARTICLE_COLUMNS}
    ones = [
        Sample(seed=3, index=i, image=s.image, mask=s.mask * np.uint16(0), meta={**s.meta, "particles": particles})
        for i, s in ((i, sample(i)) for i in range(3))
    ]
    write_samples("zarr", ones, tmp_path / "set", provenance=provenance(start=0, count=3))
    got = [s.digest() for s in ZarrReader(tmp_path / "set").samples(range(3))]
    assert got == [s.digest() for s in ones]
