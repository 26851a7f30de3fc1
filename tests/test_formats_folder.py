"""Folders elsewhere: through fsspec, with a cache that evicts, and errors of one sentence."""

from __future__ import annotations

import errno
import os
import subprocess
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from stored_samples import contents

from nanostream.errors import StoreError
from nanostream.export import FORMATS, export
from nanostream.formats.folder import LocalFolder, open_folder
from nanostream.formats.remote import RemoteFolder
from nanostream.formats.verify import verify
from nanostream.stored import ShardDataset, ZarrDataset
from nanostream.testing import FakeRecipe, FakeSynth

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

_RECIPE = FakeRecipe(height=24, width=40)
_DATASETS: dict[str, Any] = {"webdataset": ShardDataset, "zarr": ZarrDataset}


@pytest.fixture
def bucket() -> Iterator[str]:
    """An empty object store in memory."""
    yield "memory://bucket"
    files = MemoryFileSystem()
    if files.exists("/bucket"):
        files.rm("/bucket", recursive=True)


def exported(form: str, out: Any, **options: Any) -> Any:
    return export(_RECIPE, format=form, out=out, **{"count": 20, "shard_size": 4, "synth": FakeSynth, **options})


@pytest.mark.parametrize("form", FORMATS)
def test_remote_sets_are_the_local_ones(form: str, bucket: str, tmp_path: pathlib.Path) -> None:
    """An export to an object store has the very files of a local one, goes on after a failure, and verifies."""
    exported(form, tmp_path / "set")
    files = MemoryFileSystem()
    real, calls = files.pipe_file, []

    def dropped(path: str, value: bytes, **options: Any) -> None:
        calls.append(path)
        if len(calls) == 4:
            raise ConnectionResetError(errno.ECONNRESET, "connection reset by peer")
        real(path, value, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryFileSystem, "pipe_file", lambda self, *words, **options: dropped(*words, **options))
        with pytest.raises(
            StoreError, match=r"^expected to write memory://bucket/set/.*, but .*reset by peer"
        ) as caught:
            exported(form, f"{bucket}/set")
    assert "\n" not in str(caught.value)
    exported(form, f"{bucket}/set")
    assert contents(f"{bucket}/set") == contents(tmp_path / "set")
    assert verify(f"{bucket}/set", decode=False) == []
    with pytest.raises(StoreError, match="expected a new folder"):
        exported(form, f"{bucket}/set")
    with pytest.raises(StoreError, match="is not on this machine"):
        exported(form, f"{bucket}/set", overwrite=True)


@pytest.mark.parametrize("form", sorted(_DATASETS))
def test_cache_evicts_and_checks(form: str, bucket: str, tmp_path: pathlib.Path) -> None:
    """Reading from afar gives the local batches; copies stay under the limit, and damaged ones are fetched again."""
    exported(form, tmp_path / "set")
    exported(form, f"{bucket}/set")
    expected = [batch["mask"].sum().item() for batch in _DATASETS[form](tmp_path / "set", batch_size=3)]
    sizes = [size for name, size in LocalFolder(tmp_path / "set").sizes().items() if name.endswith((".tar", "/0/0"))]
    limit = int(2.5 * max(sizes))
    cache = tmp_path / "cache"
    most = 0
    for _ in range(2):
        found = []
        for batch in _DATASETS[form](f"{bucket}/set", batch_size=3, cache=cache, cache_bytes=limit):
            found.append(batch["mask"].sum().item())
            most = max(most, sum(path.stat().st_size for path in cache.iterdir()))
        assert found == expected
        for copy in cache.iterdir():
            copy.write_bytes(copy.read_bytes()[:-1] + b"x")
    assert max(sizes) <= most <= limit
    assert len(sizes) > len(list(cache.iterdir())) > 0
    with pytest.raises(StoreError, match="expected a cache of at least"):
        list(_DATASETS[form](f"{bucket}/set", cache=tmp_path / "small", cache_bytes=100))


@pytest.mark.parametrize("form", sorted(_DATASETS))
def test_damage_afar_is_told(form: str, bucket: str, tmp_path: pathlib.Path) -> None:
    """A file that differs from its manifest is a StoreError when it is fetched, and never enters the cache."""
    exported(form, f"{bucket}/set")
    name = "000001.tar" if form == "webdataset" else "mask/c/1/0/0"
    files = fsspec.filesystem("memory")
    data = bytearray(files.cat_file(f"/bucket/set/{name}"))
    data[len(data) // 2] ^= 1
    files.pipe_file(f"/bucket/set/{name}", bytes(data))
    assert any(name in problem for problem in verify(f"{bucket}/set", decode=False))
    with pytest.raises(StoreError, match=rf"{name} of .* is damaged"):
        list(_DATASETS[form](f"{bucket}/set", cache=tmp_path / "cache"))


def test_folders_are_made_where_there_are_some(tmp_path: pathlib.Path) -> None:
    """On a file system that fsspec opens and that has folders, a set is made with them, small files and large."""
    folder = RemoteFolder(f"file://{tmp_path}/a/b")
    with folder.open("c/large") as file:
        file.write(b"12")
    for number in range(100):
        folder.put(f"d/{number}/small", b"345")
    assert not (tmp_path / "a" / "b" / "d" / "99" / "small").exists()
    assert folder.sizes() == {"c/large": 2, **{f"d/{number}/small": 3 for number in range(100)}}
    assert folder.read("d/99/small", 1, 1) == b"4"
    folder.remove("c/large")
    assert folder.size("c/large") is None


def test_unknown_places_are_one_sentence(tmp_path: pathlib.Path) -> None:
    """A protocol that fsspec does not know, and a folder that is not there, are StoreErrors of one line."""
    for address in ("nothing://x/y", "s3nope://bucket"):
        with pytest.raises(StoreError, match=r"^expected to open .*, but .*") as caught:
            exported("webdataset", address)
        assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match="name a folder that export wrote"):
        ShardDataset("memory://none/here")
    assert isinstance(open_folder(f"file://{tmp_path}"), LocalFolder)
    assert isinstance(open_folder("memory://x"), RemoteFolder)


@pytest.fixture
def read_only(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder that nobody may write to: root only cannot where the disk itself is read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid():
        folder.chmod(0o500)
        yield folder
        folder.chmod(0o700)
        return
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "none", str(folder)],  # noqa: S607 as a user would
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"mounting a read-only disk needs rights that are missing here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607 as a user would


@pytest.mark.parametrize("form", FORMATS)
def test_read_only_target_is_one_sentence(form: str, read_only: pathlib.Path) -> None:
    """A folder that may not be written to is one sentence, and nothing is left in it."""
    with pytest.raises(StoreError, match=r"^expected to write .*(access is denied|disk is read-only)") as caught:
        exported(form, read_only / "set")
    assert "\n" not in str(caught.value)
    assert list(read_only.iterdir()) == []
