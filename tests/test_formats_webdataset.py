"""WebDataset shards: by our reader, by the webdataset library, by tar; whole or not at all."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import tarfile
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from stored_samples import COUNT, SHARD, START, contents, provenance, sample, samples

from nanostream.errors import StoreError
from nanostream.formats.seal import sealed
from nanostream.formats.sinks import write_samples
from nanostream.formats.webdataset import tar_header, tar_name
from nanostream.formats.webdataset_reader import ShardReader

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from nanostream.sample import Sample

_DECODERS = [
    *("l8", "rgb8", "rgba8", "l", "rgb", "rgba", "pill", "pil", "pilrgb", "pilrgba"),
    *("torchl8", "torchrgb8", "torchrgba8", "torchl", "torchrgb", "torch", "torchrgba"),
]


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    out = tmp_path / "set"
    write_samples("webdataset", samples(), out, provenance=provenance(), shard_size=SHARD)
    return out


def reseal(folder: pathlib.Path, number: int = 0, **changes: Any) -> None:
    """Let a manifest vouch for the shard as it is now, with some fields changed."""
    path = folder / f"{number:06d}.json"
    data = path.with_suffix(".tar").read_bytes()
    stated = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    values = {**json.loads(path.read_bytes()), **stated, "files": {f"{number:06d}.tar": stated}, **changes}
    values.pop("seal")
    path.write_bytes(sealed(values))


def test_layout(folder: pathlib.Path) -> None:
    """The set's description, and a tar and a manifest a shard; nothing else."""
    shards = [f"{number:06d}.{ending}" for number in range(3) for ending in ("json", "tar")]
    assert sorted(contents(folder)) == sorted(["nanostream.json", *shards])


def test_manifest_tells_range_and_hash(folder: pathlib.Path) -> None:
    """A manifest states range, size and SHA-256 of its tar."""
    for number in range(3):
        manifest = json.loads((folder / f"{number:06d}.json").read_bytes())
        data = (folder / f"{number:06d}.tar").read_bytes()
        assert manifest["start"] == START + number * SHARD
        assert manifest["count"] == min(SHARD, COUNT - number * SHARD)
        assert (manifest["bytes"], manifest["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert (manifest["recipe"], manifest["seed"]) == ("r", 3)


def test_same_range_gives_same_bytes(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Every file of a second export of the same samples is byte-identical."""
    write_samples("webdataset", iter(samples()), tmp_path / "again", provenance=provenance(), shard_size=SHARD)
    assert contents(tmp_path / "again") == contents(folder)


def test_entries_have_no_owner_and_no_time(folder: pathlib.Path) -> None:
    """Tar lists the files in index and field order, with time 0, owner 0 and one mode."""
    with tarfile.open(folder / "000001.tar") as tar:
        entries = tar.getmembers()
    assert {(e.mtime, e.uid, e.gid, e.uname, e.gname, e.mode) for e in entries} == {(0, 0, 0, "", "", 0o644)}
    first = f"{START + SHARD:016d}"
    assert [e.name for e in entries[:3]] == [f"{first}.image.png", f"{first}.mask.npy.gz", f"{first}.meta.json"]
    listed = subprocess.run(["tar", "tf", folder / "000001.tar"], capture_output=True, check=True, text=True)  # noqa: S607
    assert listed.stdout.split() == [e.name for e in entries]


@pytest.mark.parametrize("size", [0, 1, 511, 2**20, 2**28])
def test_headers_are_those_of_tarfile(size: int) -> None:
    """A header is, byte by byte, the one that Python's tarfile writes."""
    entry = tarfile.TarInfo(tar_name(2**53, "mask.npy.gz"))
    entry.size, entry.mode = size, 0o644
    assert tar_header(entry.name, size) == entry.tobuf(tarfile.USTAR_FORMAT)


def test_reader_gives_the_same_samples(folder: pathlib.Path) -> None:
    """All samples come back in order with the same digests."""
    reader = ShardReader(folder)
    assert len(reader) == COUNT
    assert reader.provenance == provenance()
    assert [s.digest() for s in reader.samples(range(COUNT))] == [s.digest() for s in samples()]


@pytest.mark.parametrize("rows", [[22, 0, 8, 7, 7, 9], [3], range(20, 2, -3), range(1, 23, 4), []])
def test_reader_takes_rows_in_any_order(folder: pathlib.Path, rows: Any) -> None:
    """Rows may skip, fall and repeat, within and across shards."""
    got = [s.digest() for s in ShardReader(folder).samples(rows)]
    assert got == [sample(START + row).digest() for row in rows]


def test_row_out_of_range_is_refused(folder: pathlib.Path) -> None:
    """A row that the set does not have is a StoreError that says which there are."""
    for row in (-1, COUNT):
        with pytest.raises(StoreError, match=f"a row from 0 to {COUNT - 1}"):
            list(ShardReader(folder).samples([row]))


@pytest.mark.parametrize("spec", _DECODERS)
def test_webdataset_library_keeps_image_and_labels(folder: pathlib.Path, spec: str) -> None:
    """Under each of the library's own decoders labels of 300 and 40,000 and the grey levels are intact."""
    for record, one in zip(records(folder, spec), samples(), strict=True):
        assert record["__key__"] == f"{one.index:016d}"
        assert record["mask.npy.gz"].dtype == np.uint16
        assert (record["mask.npy.gz"] == one.mask).all()
        assert {300, 40_000} <= set(np.unique(record["mask.npy.gz"]).tolist())
        assert record["meta.json"] == one.meta
        image = np.asarray(record["image.png"])
        if spec.startswith("torch") and image.ndim == 3:
            image = image.transpose(1, 2, 0)
        image = np.rint(image * 255) if image.dtype == np.float32 else image
        grey = image if image.ndim == 2 else image[..., 0]
        assert (grey == one.image).all()


def records(folder: pathlib.Path, spec: str) -> Iterator[dict[str, Any]]:
    wds = pytest.importorskip("webdataset")
    shards = sorted(str(path) for path in folder.glob("*.tar"))
    with warnings.catch_warnings():
        # The library warns of its own use of older interfaces.
        warnings.simplefilter("ignore")
        yield from wds.WebDataset(shards, shardshuffle=False, empty_check=False).decode(spec)


def test_webdataset_library_in_a_loader_with_two_workers(folder: pathlib.Path) -> None:
    """A torch DataLoader with two workers over the library's own pipeline gets every sample once."""
    wds = pytest.importorskip("webdataset")
    torch = pytest.importorskip("torch")
    shards = str(folder / "{000000..000002}.tar")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = (
            wds.WebDataset(shards, shardshuffle=False).decode("l8").to_tuple("image.png", "mask.npy.gz", "meta.json")
        )
        loader = torch.utils.data.DataLoader(
            pipeline, batch_size=None, num_workers=2, multiprocessing_context="spawn", timeout=120
        )
        got = {meta["index"]: (np.asarray(image), np.asarray(mask)) for image, mask, meta in loader}
    assert sorted(got) == list(range(START, START + COUNT))
    for one in samples():
        image, mask = got[one.index]
        assert (image == one.image).all()
        assert (mask == one.mask).all()


@pytest.mark.parametrize("lost", ["nanostream.json", "000001.tar", "000002.json"])
def test_missing_file_is_named(folder: pathlib.Path, lost: str) -> None:
    """A folder that lacks its description, a shard or a manifest does not open."""
    (folder / lost).unlink()
    with pytest.raises(StoreError, match=lost):
        ShardReader(folder)


@pytest.mark.parametrize("kept", [0, 100, 512, 3000, 10_240, -1])
def test_cut_shard_is_named(folder: pathlib.Path, kept: int) -> None:
    """A shard cut off anywhere is a StoreError that names it, with and without an honest manifest."""
    tar = folder / "000001.tar"
    whole = tar.read_bytes()
    tar.write_bytes(whole[:kept])
    with pytest.raises(StoreError, match=r"000001\.tar (of .* is damaged: expected \d+ bytes|is missing or empty)"):
        list(ShardReader(folder).samples(range(COUNT)))
    reseal(folder, 1)
    if kept != -1:  # the last bytes of a tar are padding
        with pytest.raises(StoreError, match=r"000001\.tar"):
            list(ShardReader(folder).samples(range(COUNT)))


@pytest.mark.parametrize("key", ["start", "count", "recipe", "seed"])
def test_manifest_of_another_export_is_refused(folder: pathlib.Path, key: str) -> None:
    """A manifest that does not fit the set is a StoreError that names the field."""
    told = json.loads((folder / "000000.json").read_bytes())[key]
    reseal(folder, **{key: 99})
    with pytest.raises(StoreError, match=f"expected {key}"):
        next(ShardReader(folder).samples([0]))
    reseal(folder, **{key: told}, shard="000001.tar")
    with pytest.raises(StoreError, match="what a part of a webdataset set states"):
        next(ShardReader(folder).samples([0]))
    manifest = json.loads((folder / "000000.json").read_bytes())
    (folder / "000000.json").write_text(json.dumps({**manifest, "count": 7}))
    with pytest.raises(StoreError, match="the SHA-256 of its content as 'seal'"):
        next(ShardReader(folder).samples([0]))


@pytest.mark.parametrize("key", ["kind", "layout", "count", "recipe", "seed", "shard_size", "start"])
def test_wrong_description_is_refused(folder: pathlib.Path, key: str) -> None:
    """A description with a wrong field is a StoreError."""
    described = json.loads((folder / "nanostream.json").read_bytes())
    for value in (None, "7", -1):
        del described["seal"]
        (folder / "nanostream.json").write_bytes(sealed({**described, key: value}))
        described["seal"] = ""
        if (key, value) != ("seed", -1):
            with pytest.raises(StoreError, match=r"nanostream\.json"):
                ShardReader(folder)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_links_in_a_shard_are_refused(folder: pathlib.Path, kind: bytes) -> None:
    """An entry that is no plain file, or has another name, is never followed."""
    secret = folder.parent / "secret"
    secret.write_text("secret")
    for name in (f"{START:016d}.image.png", "../escaped"):
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, str(secret)
        with tarfile.open(folder / "000000.tar", "w") as tar:
            tar.addfile(entry)
        reseal(folder)
        with pytest.raises(StoreError, match=r"000000\.tar of .* is damaged"):
            next(ShardReader(folder).samples([0]))


def test_damaged_field_names_sample_and_shard(folder: pathlib.Path) -> None:
    """A sample whose payload is overwritten is a StoreError that names field, sample and shard."""
    tar = folder / "000000.tar"
    data = bytearray(tar.read_bytes())
    data[512:700] = bytes(188)
    tar.write_bytes(data)
    with pytest.raises(StoreError, match=r"000000\.tar of .* is damaged: expected SHA-256"):
        next(ShardReader(folder).samples([0]))
    reseal(folder)
    with pytest.raises(StoreError, match=rf"image\.png of sample {START} in 000000\.tar of .* is damaged"):
        next(ShardReader(folder).samples([0]))


def test_stream_that_ends_early_leaves_whole_shards_only(tmp_path: pathlib.Path) -> None:
    """When the samples end or fail within a shard, the whole ones before stay and that one does not."""
    out = tmp_path / "set"
    with pytest.raises(StoreError, match="expected 23 samples from index 5 on, got 10"):
        write_samples("webdataset", samples()[:10], out, provenance=provenance(), shard_size=SHARD)
    assert sorted(contents(out)) == ["000000.json", "000000.tar", "nanostream.json"]

    def failing() -> Iterator[Sample]:
        yield from samples()[:10]
        raise ConnectionResetError(104, "a worker is gone")

    with pytest.raises(ConnectionResetError, match="a worker is gone"):
        write_samples("webdataset", failing(), tmp_path / "second", provenance=provenance(), shard_size=SHARD)
    assert sorted(contents(tmp_path / "second")) == ["000000.json", "000000.tar", "nanostream.json"]


def test_samples_of_another_range_are_refused(tmp_path: pathlib.Path) -> None:
    """A sample out of order, of another seed or of another recipe is a StoreError."""
    ones = samples()
    swapped = [ones[1], ones[0], *ones[2:]]
    for stream, wanted in (
        (swapped, provenance()),
        (ones, provenance(seed=4)),
        (ones, provenance(recipe_hash="other")),
    ):
        with pytest.raises(StoreError, match=r"expected the sample \(seed, index, recipe, build\)"):
            write_samples("webdataset", stream, tmp_path / "set", provenance=wanted, shard_size=SHARD)


def test_endless_stream_is_read_no_further_than_needed(tmp_path: pathlib.Path) -> None:
    """Exactly `count` samples are drawn from an endless stream."""
    endless = (sample(index) for index in itertools.count(START))
    write_samples("webdataset", endless, tmp_path / "set", provenance=provenance(count=3), shard_size=2)
    assert next(endless).index == START + 3
