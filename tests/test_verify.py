"""What is wrong with a set: found by the readers as a typed error, or told by `verify`; nothing else happens."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import re
import tarfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from nanostream.cli.app import main
from nanostream.errors import StoreError
from nanostream.export import FORMATS, export
from nanostream.formats.codec import FIELDS
from nanostream.formats.seal import sealed
from nanostream.formats.verify import verify
from nanostream.formats.webdataset import tar_header, tar_name
from nanostream.formats.webdataset_reader import ShardReader
from nanostream.formats.zarr_reader import ZarrReader
from nanostream.testing import FakeRecipe, FakeSynth

if TYPE_CHECKING:
    import pathlib

_COUNT = 12
_READERS: dict[str, Any] = {"webdataset": ShardReader, "zarr": ZarrReader}


@pytest.fixture(params=FORMATS)
def stored(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> pathlib.Path:
    return made(request.param, tmp_path / request.param)


def made(form: str, out: pathlib.Path) -> pathlib.Path:
    export(FakeRecipe(height=24, width=40), format=form, out=out, count=_COUNT, shard_size=4, synth=FakeSynth)
    return out


def digests(folder: pathlib.Path) -> list[str]:
    reader = _READERS[folder.name](folder)
    return [sample.digest() for sample in reader.samples(range(_COUNT))]


def data_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Files of the parts, the first of each kind's, largest last."""
    wanted = {"webdataset": "*.tar", "zarr": "*/c/1/0/0"}.get(folder.name, "*")
    files = (path for path in folder.rglob(wanted) if path.is_file() and "manifests" not in path.parts)
    return sorted(files, key=lambda path: (path.stat().st_size, path))


def test_sound_sets_have_no_problems(stored: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A whole set verifies, and the command says so and exits with 0."""
    assert verify(stored) == []
    assert main(["verify", str(stored)]) == 0
    assert f"Verified {_COUNT} samples" in capsys.readouterr().out


def test_flipped_byte_anywhere_is_found(stored: pathlib.Path) -> None:
    """A byte flipped at 200 random places of the data is told by `verify`, and the readers raise."""
    rng = np.random.default_rng(6)
    files = data_files(stored)
    readable = stored.name in _READERS
    for _ in range(200):
        path = files[int(rng.integers(len(files)))]
        whole = path.read_bytes()
        place = int(rng.integers(len(whole)))
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        problems = verify(stored, decode=False)
        assert len(problems) == 1
        assert path.relative_to(stored).as_posix() in problems[0]
        assert "\n" not in problems[0]
        if readable:
            with pytest.raises(StoreError, match=re.escape(path.relative_to(stored).as_posix())):
                digests(stored)
        path.write_bytes(whole)
    assert verify(stored) == []


def test_cut_missing_and_foreign_files_are_found(stored: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is cut off, gone or not of the set is told, each in one sentence, and the command exits with 1."""
    path = data_files(stored)[-1]
    name = path.relative_to(stored).as_posix()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert [name in problem for problem in verify(stored)] == [True]
    assert main(["verify", str(stored)]) == 1
    assert name in capsys.readouterr().out
    path.unlink()
    (problem,) = verify(stored)
    assert f"expected {name} in" in problem
    assert "missing" in problem
    path.write_bytes(whole)
    (stored / "manifests").mkdir(exist_ok=True)
    (stored / "manifests" / "stranger.txt").write_text("mine")
    (problem,) = verify(stored)
    assert "stranger.txt" in problem


def test_every_manifest_that_lies_is_found(stored: pathlib.Path) -> None:
    """A manifest with any field changed is told, sealed again or not; names outside the folder are refused."""
    outside = stored.parent / "outside"
    outside.write_text("secret")
    manifests = [path for path in stored.rglob("*.json") if path.name in {"000001.json", "nanostream.json", "set.json"}]
    assert len(manifests) >= 2
    for path in manifests:
        whole = path.read_bytes()
        values = json.loads(whole)
        del values["seal"]
        for key, value in values.items():
            if key in {"versions", "backend", "build_hash"} or (path.name == "nanostream.json" and key == "recipe"):
                continue
            other = value + 1 if isinstance(value, int) else "lie" if isinstance(value, str) else {}
            lie = {**values, key: other}
            path.write_bytes(json.dumps({**lie, "seal": json.loads(whole)["seal"]}).encode())
            assert verify(stored), key
            path.write_bytes(sealed(lie))
            assert verify(stored), key
        if "files" in values:
            name, entry = next(iter(values["files"].items()))
            for escape in ("../outside", "/etc/passwd", "a/../../outside", "memory://x", "..\\outside"):
                path.write_bytes(sealed({**values, "files": {**values["files"], escape: entry}}))
                assert any("inside the folder" in problem for problem in verify(stored))
            for lie in ({"bytes": 1}, {"bytes": "1", "sha256": ""}, [], None, {**entry, "sha256": "0" * 64}):
                path.write_bytes(sealed({**values, "files": {**values["files"], name: lie}}))
                assert verify(stored)
        path.write_bytes(whole)
    assert verify(stored) == []


def test_giant_json_is_not_read(stored: pathlib.Path) -> None:
    """A description or manifest of 1 GB is refused after the most that one may have."""
    for name in ("nanostream.json", "000001.json" if stored.name == "webdataset" else "manifests/000001.json"):
        path = stored / name
        whole = path.read_bytes()
        with path.open("r+b") as file:
            file.truncate(10**9)
        problems = verify(stored, decode=False)
        assert any("at most 268435456 bytes" in problem for problem in problems)
        path.write_bytes(whole)


def test_giant_metadata_of_a_store_are_not_read(tmp_path: pathlib.Path) -> None:
    """A zarr.json of 1 GB is a StoreError before Zarr sees it, also where its manifest vouches for it."""
    folder = made("zarr", tmp_path / "zarr")
    giant = folder / "zarr.json"
    with giant.open("r+b") as file:
        file.truncate(10**9)
    with pytest.raises(StoreError, match=r"zarr\.json .* is damaged: expected \d+ bytes, got 1000000000"):
        ZarrReader(folder)
    manifest = folder / "manifests" / "set.json"
    values = json.loads(manifest.read_bytes())
    del values["seal"]
    values["files"]["zarr.json"]["bytes"] = 10**9
    manifest.write_bytes(sealed(values))
    with pytest.raises(StoreError, match=r"zarr\.json .* is damaged"):
        ZarrReader(folder)


def test_counts_that_lie_cost_nothing(stored: pathlib.Path) -> None:
    """A description that states more samples than there can be files is told at once, by readers too."""
    path = stored / "nanostream.json"
    whole = path.read_bytes()
    for count in (10**9, 2**53 - 1, 2**53, 2**70):
        values = json.loads(whole)
        del values["seal"]
        path.write_bytes(sealed({**values, "count": count, "shard_size": 1}))
        (problem,) = verify(stored)
        assert "nanostream.json" in problem
        if stored.name in _READERS:
            with pytest.raises(StoreError, match="expected"):
                _READERS[stored.name](stored)
    path.write_bytes(whole)


class _Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


@pytest.fixture
def shard(tmp_path: pathlib.Path) -> Any:
    """A function that puts a tar of one's own in place of a shard, vouched for by its manifest."""
    folder = made("webdataset", tmp_path / "webdataset")

    def replace(data: bytes) -> pathlib.Path:
        stated = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        (folder / "000001.tar").write_bytes(data)
        manifest = json.loads((folder / "000001.json").read_bytes())
        del manifest["seal"]
        manifest |= {**stated, "files": {"000001.tar": stated}}
        (folder / "000001.json").write_bytes(sealed(manifest))
        return folder

    return replace


def fields(folder: pathlib.Path, index: int) -> dict[str, bytes]:
    with tarfile.open(folder / "000001.tar") as tar:
        return {field: tar.extractfile(tar_name(index, field)).read() for field in FIELDS}  # type: ignore[union-attr]


def tar_of(entries: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(header + data + bytes(-len(data) % 512) for header, data in entries) + bytes(1024)


def assert_refused(folder: pathlib.Path, message: str) -> None:
    before = sorted(folder.parent.rglob("*"))
    (problem,) = verify(folder)
    assert message in problem
    with pytest.raises(StoreError, match=message):
        list(ShardReader(folder).samples(range(_COUNT)))
    assert sorted(folder.parent.rglob("*")) == before


def npy(array: np.ndarray[Any, Any], **options: Any) -> bytes:
    raw = io.BytesIO()
    np.save(raw, array, **options)
    return gzip.compress(raw.getvalue())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("wide", "mask.npy.gz of sample 4"),
        ("other shape", "mask.npy.gz of sample 4"),
        ("pickled", "without pickled objects"),
        ("deep", "meta.json"),
        ("text", "meta.json"),
        ("not a picture", "image.png"),
        ("another index", "expected sample 4"),
    ],
)
def test_hostile_fields_are_refused(shard: Any, tmp_path: pathlib.Path, kind: str, message: str) -> None:
    """Labels over 65,535, other shapes, pickles, JSON that is none: a typed error, no code run, no file made."""
    own = fields(tmp_path / "webdataset", 4)
    bomb = np.array([_Bomb(str(tmp_path / "bombed"))], dtype=object)
    own |= {
        "wide": {"mask.npy.gz": npy(np.full((24, 40), 65_536, np.uint32))},
        "other shape": {"mask.npy.gz": npy(np.zeros((24, 41), np.uint16))},
        "pickled": {"mask.npy.gz": npy(bomb, allow_pickle=True)},
        "deep": {"meta.json": b"[" * 10**6},
        "text": {"meta.json": pickle.dumps(_Bomb(str(tmp_path / "bombed")))},
        "not a picture": {"image.png": b"GIF89a"},
        "another index": {"meta.json": own["meta.json"].replace(b'"index":4', b'"index":5')},
    }[kind]
    entries = [(tar_header(tar_name(4, field), len(own[field])), own[field]) for field in FIELDS]
    assert_refused(shard(tar_of(entries)), message)
    assert not (tmp_path / "bombed").exists()


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", tar_name(4, "image.png"), "a/../../x"])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE])
def test_hostile_entries_are_refused(shard: Any, tmp_path: pathlib.Path, name: str, kind: bytes) -> None:
    """Entries with `..`, absolute names, links and devices in a tar are never followed or written."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = kind, "/etc/passwd", 0o644
    header = entry.tobuf(tarfile.USTAR_FORMAT)
    assert_refused(shard(tar_of([(header, b"")])), "000001.tar")


def test_giant_field_is_refused(shard: Any, tmp_path: pathlib.Path) -> None:
    """A tar entry that states 1 GB of JSON is refused by its header, with nothing of it read."""
    own = fields(tmp_path / "webdataset", 4)
    entries = [(tar_header(tar_name(4, field), len(own[field])), own[field]) for field in FIELDS[:2]]
    assert_refused(shard(tar_of([*entries, (tar_header(tar_name(4, FIELDS[2]), 10**9), b"[")])), "meta.json of at most")


def test_links_in_a_begun_export_are_not_followed(stored: pathlib.Path) -> None:
    """Where a link stands in an export that was cut off, going on is refused, and its target stays as it was."""
    outside = stored.parent / "outside"
    outside.write_text("mine")
    manifest = next(path for path in stored.rglob("000001.json"))
    victim = stored / next(iter(json.loads(manifest.read_bytes())["files"]))
    victim.unlink()
    manifest.unlink()
    for name in (victim, victim.with_name(victim.name + ".partial"), manifest):
        name.symlink_to(outside)
        with pytest.raises(StoreError, match="is a link"):
            made(stored.name, stored)
        name.unlink()
    made(stored.name, stored)
    assert verify(stored) == []
    assert outside.read_text() == "mine"


def test_folders_that_are_no_sets_are_told(tmp_path: pathlib.Path) -> None:
    """No folder, an empty one, and one of other things are problems of one sentence."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "nanostream.json").write_bytes(sealed({"kind": "hdf5"}))
    for name in ("none", ".", "other"):
        (problem,) = verify(tmp_path / name)
        assert problem.startswith("expected")
