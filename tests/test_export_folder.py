"""A stream into a folder and back: the same samples, and nothing lost where it cannot be written."""

from __future__ import annotations

import errno
import functools
import hashlib
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from stored_samples import contents

from nanostream.errors import NanostreamError, RenderError, SampleIndexError, StoreError, StreamError
from nanostream.export import FORMATS, export, write
from nanostream.formats import disk
from nanostream.formats.folder import open_folder
from nanostream.formats.sinks import open_sink
from nanostream.formats.verify import verify
from nanostream.formats.webdataset_reader import ShardReader
from nanostream.formats.zarr_reader import ZarrReader
from nanostream.sample import Sample
from nanostream.testing import FakeRecipe, FakeSynth

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

_RECIPE = FakeRecipe(height=16, width=24)
_READERS = {"webdataset": ShardReader, "zarr": ZarrReader}

pytestmark = pytest.mark.parametrize("form", FORMATS)


def exported(form: str, out: pathlib.Path, **options: Any) -> Any:
    options = {"count": 10, "seed": 5, "start": 3, "shard_size": 4, "synth": FakeSynth, **options}
    return export(_RECIPE, format=form, out=out, **options)


def noise(count: int, *, size: int = 96) -> Iterator[Sample]:
    """Samples that compress badly, with labels up to 40,000."""
    for index in range(count):
        rng = np.random.default_rng(index)
        meta = {"recipe": "r", "build": "b", "backend": "fake", "seed": 0, "index": index}
        meta |= {"pixel_nm": 2.0, "particles": {}}
        image = rng.integers(0, 256, (size, size), dtype=np.uint8)
        mask = rng.integers(0, 40_001, (size, size), dtype=np.uint16)
        yield Sample(seed=0, index=index, image=image, mask=mask, meta=meta)


def test_exported_samples_are_the_rendered_ones(form: str, tmp_path: pathlib.Path) -> None:
    """Every sample of the range comes back with the digest it was rendered with."""
    made = exported(form, tmp_path / "set")
    synth = FakeSynth(_RECIPE)
    rendered = [synth.render(seed=5, index=index).digest() for index in range(3, 13)]
    if form in _READERS:
        reader = _READERS[form](tmp_path / "set")
        assert [sample.digest() for sample in reader.samples(range(10))] == rendered
        assert made.provenance == reader.provenance
    assert verify(tmp_path / "set") == []
    assert made.folder == str(tmp_path / "set")
    assert made.nbytes == sum(path.stat().st_size for path in (tmp_path / "set").rglob("*") if path.is_file())
    assert (made.provenance.recipe_hash, made.provenance.start, made.provenance.count) == (_RECIPE.hash, 3, 10)
    assert made.provenance.recipe == {"name": "fake", "height": 16, "width": 24}


def test_progress_counts_every_sample(form: str, tmp_path: pathlib.Path) -> None:
    """The progress function is called once a sample."""
    steps: list[int] = []
    exported(form, tmp_path / "set", progress=steps.append)
    assert steps == [1] * 10


def test_twice_is_the_same(form: str, tmp_path: pathlib.Path) -> None:
    """Two exports of one range hold the same bytes."""
    exported(form, tmp_path / "one")
    exported(form, tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_empty_folder_and_new_parents_will_do(form: str, tmp_path: pathlib.Path) -> None:
    """An empty folder is filled, and missing parents are made."""
    (tmp_path / "empty").mkdir()
    exported(form, tmp_path / "empty")
    exported(form, tmp_path / "a" / "b" / "set")
    assert contents(tmp_path / "empty") == contents(tmp_path / "a" / "b" / "set")


def test_existing_folder_is_left_alone(form: str, tmp_path: pathlib.Path) -> None:
    """A folder that exists is a StoreError, found before anything is rendered, and nothing changes."""
    exported(form, tmp_path / "set")
    before = contents(tmp_path)
    with pytest.raises(StoreError, match=r"expected a new folder, but .*set exists: .*--overwrite"):
        exported(form, tmp_path / "set", synth=_unwanted)
    assert contents(tmp_path) == before


def _unwanted(*_: object) -> Any:
    pytest.fail("a renderer was started")


def test_overwrite_replaces_an_export_of_either_format(form: str, tmp_path: pathlib.Path) -> None:
    """With overwrite an earlier export of any format is replaced, whole."""
    exported(form, tmp_path / "expected", count=3)
    for before in FORMATS:
        exported(before, tmp_path / "set", overwrite=True)
        exported(form, tmp_path / "set", count=3, overwrite=True)
        assert contents(tmp_path / "set") == contents(tmp_path / "expected")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["expected", "set"]


@pytest.mark.parametrize("stranger", ["notes.txt", "only", "file"])
def test_overwrite_deletes_nothing_of_others(form: str, tmp_path: pathlib.Path, stranger: str) -> None:
    """With overwrite too, a folder that is no export, or holds more than one, is a StoreError."""
    out = tmp_path / "set"
    if stranger == "notes.txt":
        exported(form, out)
        (out / stranger).write_text("mine")
    elif stranger == "only":
        out.mkdir()
        (out / "nanostream.json").write_text("{}")
    else:
        out.write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(StoreError, match=r"expected to overwrite an export of nanostream's, but .* choose another"):
        exported(form, out, overwrite=True)
    assert contents(tmp_path) == before


def test_failed_overwrite_gives_the_old_set_back(form: str, tmp_path: pathlib.Path) -> None:
    """Where rendering fails in the middle of overwriting, the old set stands as it was."""
    exported(form, tmp_path / "set")
    before = contents(tmp_path)
    with pytest.raises(RenderError, match="sample 9"):
        exported(form, tmp_path / "set", seed=6, overwrite=True, synth=functools.partial(FakeSynth, broken=[9]))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
@pytest.mark.parametrize("name", ["count", "shard_size"])
def test_wrong_numbers_are_named(form: str, tmp_path: pathlib.Path, name: str, count: Any) -> None:
    """A count or shard size that is no positive whole number is a StoreError with the value."""
    with pytest.raises(StoreError, match=f"expected {name} to be a whole number of samples, at least 1, got {count}"):
        exported(form, tmp_path / "set", **{name: count}, synth=_unwanted)
    assert not (tmp_path / "set").exists()


def test_wrong_words_are_named(form: str, tmp_path: pathlib.Path) -> None:
    """An unknown format names the nearest, an unknown engine those there are, a range its limit."""
    with pytest.raises(StoreError, match=f"got '{form[:-1]}': did you mean '{form}'"):
        exported(form[:-1], tmp_path / "set", synth=_unwanted)
    with pytest.raises(StreamError, match=r"expected engine 'auto', .* got 'rya'"):
        exported(form, tmp_path / "set", engine="rya", synth=_unwanted)
    for options in ({"start": -1}, {"start": 2**53}, {"seed": -1}, {"count": 2**54}):
        with pytest.raises(SampleIndexError, match="from 0 to"):
            exported(form, tmp_path / "set", **options, synth=_unwanted)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_writing_that_fails_is_one_sentence(
    form: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Where the disk refuses, the error is a StoreError of one line that names folder and remedy."""

    def refuse(*_: object) -> None:
        raise OSError(code, "refused")

    monkeypatch.setattr(disk.os, "fsync", refuse)
    with pytest.raises(StoreError, match=r"^expected to write .*set.*, but .*choose another folder$") as caught:
        exported(form, tmp_path / "set")
    assert "\n" not in str(caught.value)
    assert [name for name in contents(tmp_path) if "nanostream.json" not in name] == []


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A disk of one MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if done.returncode:
        pytest.skip(f"mounting a small disk needs rights that are missing here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607 as a user would


def test_full_disk_keeps_whole_shards_only(form: str, small_disk: pathlib.Path) -> None:
    """On a disk that is really full: one sentence, and no half-written shard or store under its name."""
    out = small_disk / "set"
    with pytest.raises(StoreError, match=r"^expected to write .*, but the disk is full: free some space") as caught:
        write(noise(200), recipe={}, format=form, count=200, out=out, shard_size=8)
    assert "\n" not in str(caught.value)
    assert not [path for path in out.rglob("*") if path.name.endswith(disk.PARTIAL)]
    sink = open_sink(open_folder(out))
    assert not sink.whole()
    # The manifests of the parts that stay vouch for them.
    for number in set(range(sink.parts)) - set(sink.missing()):
        for name, entry in sink.manifest(number)["files"].items():
            assert hashlib.sha256((out / name).read_bytes()).hexdigest() == entry["sha256"]
    if form in _READERS:
        assert len(sink.missing()) < sink.parts
        with pytest.raises(StoreError, match=r"expected 25 parts with their manifests .* is missing"):
            _READERS[form](out)


def test_full_disk_while_overwriting_gives_the_old_set_back(form: str, small_disk: pathlib.Path) -> None:
    """When the disk fills up while an earlier export is replaced, the earlier one stands as it was."""
    out = small_disk / "set"
    write(noise(4, size=24), recipe={}, format=form, count=4, out=out)
    before = contents(small_disk)
    with pytest.raises(StoreError, match="the disk is full"):
        write(noise(200), recipe={}, format=form, count=200, out=out, shard_size=8, overwrite=True)
    assert contents(small_disk) == before


def test_errors_have_one_root(form: str, tmp_path: pathlib.Path) -> None:
    """An export into a file's inside is a NanostreamError as well."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NanostreamError, match="expected to write"):
        exported(form, tmp_path / "file" / "set")
