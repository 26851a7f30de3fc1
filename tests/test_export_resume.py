"""Exports that are cut off, and go on: the same bytes as if nothing had happened."""

from __future__ import annotations

import functools
import json
import multiprocessing
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from stored_samples import contents

from nanostream.errors import RenderError, StoreError
from nanostream.export import FORMATS, export
from nanostream.formats.nbytes import parse_bytes
from nanostream.formats.seal import sealed
from nanostream.formats.verify import verify
from nanostream.testing import FakeRecipe, FakeSynth

if TYPE_CHECKING:
    import pathlib

_RECIPE = FakeRecipe(height=40, width=48)
_SETTINGS: dict[str, Any] = {"count": 30, "seed": 5, "start": 3, "shard_size": 4}


def exported(form: str, out: pathlib.Path, **options: Any) -> Any:
    return export(_RECIPE, format=form, out=out, **{**_SETTINGS, "synth": FakeSynth, **options})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    for form in FORMATS:
        exported(form, folder / form)
    return {form: contents(folder / form) for form in FORMATS}


class _Counting(FakeSynth):
    rendered: list[int] = []  # noqa: RUF012 shared on purpose

    def render(self, *, seed: int, index: int) -> Any:
        self.rendered.append(index)
        return super().render(seed=seed, index=index)


@pytest.mark.parametrize("form", FORMATS)
def test_failed_export_goes_on(form: str, tmp_path: pathlib.Path, undisturbed: dict[str, Any]) -> None:
    """After a sample that failed, only the parts that are missing are rendered, and the bytes are the same."""
    out = tmp_path / "set"
    with pytest.raises(RenderError, match="sample 20"):
        exported(form, out, synth=functools.partial(FakeSynth, broken=[20]))
    assert verify(out)
    _Counting.rendered.clear()
    counted: list[int] = []
    made = exported(form, out, synth=_Counting, progress=counted.append)
    assert _Counting.rendered == list(range(19, 33))
    assert (made.resumed, sum(counted)) == (16, 30)
    assert contents(out) == undisturbed[form]
    assert verify(out) == []


@pytest.mark.parametrize("form", FORMATS)
def test_whole_export_is_not_begun_again(form: str, tmp_path: pathlib.Path) -> None:
    """The same export into a folder where it is whole is a StoreError, and another one is too."""
    exported(form, tmp_path / "set")
    for changes in ({}, {"seed": 6}, {"count": 31}):
        with pytest.raises(StoreError, match="expected a new folder"):
            exported(form, tmp_path / "set", **changes)


def test_other_settings_do_not_go_on(tmp_path: pathlib.Path) -> None:
    """What another seed, version or shard size has begun is left alone, with the field named."""
    out = tmp_path / "set"
    broken = functools.partial(FakeSynth, broken=[20])
    with pytest.raises(RenderError):
        exported("webdataset", out, synth=broken)
    before = contents(out)
    for changes, message in (({"seed": 6}, "expected a new folder"), ({"shard_size": 5}, "with other shard_size")):
        with pytest.raises(StoreError, match=message):
            exported("webdataset", out, **changes)
    assert contents(out) == before
    described = json.loads((out / "nanostream.json").read_bytes())
    del described["seal"]
    described["versions"]["zlib"] = "1.0"
    (out / "nanostream.json").write_bytes(sealed(described))
    with pytest.raises(StoreError, match=r"was begun with other versions .*--overwrite"):
        exported("webdataset", out)
    exported("webdataset", out, overwrite=True)
    assert verify(out) == []


def test_lost_files_are_written_again(tmp_path: pathlib.Path, undisturbed: dict[str, Any]) -> None:
    """A part that lost a file is written again, whatever the rest of the folder holds."""
    out = tmp_path / "set"
    exported("webdataset", out)
    (out / "000002.json").unlink()
    (out / "000005.tar").unlink()
    made = exported("webdataset", out)
    assert made.resumed == 30 - 8
    assert contents(out) == undisturbed["webdataset"]


@pytest.mark.parametrize("form", ["webdataset", "zarr"])
def test_kill_before_the_first_file_is_whole(tmp_path: pathlib.Path, undisturbed: dict[str, Any], form: str) -> None:
    """A folder that holds nothing but the unfinished first file of an export is as good as new."""
    out = tmp_path / "set"
    out.mkdir()
    (out / "nanostream.json.partial").write_text('{"rec')
    exported(form, out)
    assert contents(out) == undisturbed[form]


def _child(form: str, out: pathlib.Path) -> None:
    exported(form, out, synth=functools.partial(FakeSynth, seconds=0.004))


@pytest.mark.slow
def test_kill_at_random_moments(tmp_path: pathlib.Path, undisturbed: dict[str, Any]) -> None:
    """Kill -9 at 20 random moments for each format, then the same export again: the bytes of an undisturbed one."""
    context = multiprocessing.get_context("forkserver")
    homes = {"ome-zarr-0.4": "ome", "ome-zarr": "ome"}
    context.set_forkserver_preload(["nanostream.export", *(f"nanostream.formats.{homes.get(f, f)}" for f in FORMATS)])
    moments = np.random.default_rng(20)
    halfway = 0
    for form in FORMATS:
        began = time.perf_counter()
        first = context.Process(target=_child, args=(form, tmp_path / form / "timed"))
        first.start()
        first.join()
        seconds = time.perf_counter() - began
        for moment in range(20):
            out = tmp_path / form / str(moment)
            process = context.Process(target=_child, args=(form, out))
            process.start()
            time.sleep(moments.uniform(0, seconds))
            process.kill()
            process.join()
            halfway += out.exists() and bool(verify(out, decode=False))
            if verify(out, decode=False):
                exported(form, out)
            assert contents(out) == undisturbed[form], (form, moment)
    # How many depends on the machine; without any the test would show nothing.
    assert halfway >= len(FORMATS)


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("512MB", 512_000_000), ("20 GB", 20 * 10**9), ("64MiB", 2**26), ("1.5k", 1500), ("7", 7), ("2Ti", 2**41)],
)
def test_sizes_are_read(text: str, nbytes: int) -> None:
    """Sizes are numbers with or without a unit, decimal or binary."""
    assert parse_bytes(text) == nbytes


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "0", "1 parsec", "1e9"])
def test_wrong_sizes_are_refused(text: str, tmp_path: pathlib.Path) -> None:
    """What is no size is a StoreError before anything is rendered."""
    with pytest.raises(StoreError, match="expected a size such as 512MB"):
        exported("webdataset", tmp_path / "set", shard_size=text)


def test_shards_of_a_size_in_bytes(tmp_path: pathlib.Path) -> None:
    """Shards come out near the size asked for, and the same when the export is cut off and goes on."""
    made = exported("webdataset", tmp_path / "set", count=60, shard_size="40kB")
    sizes = [path.stat().st_size for path in sorted((tmp_path / "set").glob("*.tar"))]
    assert made.shard_size > 1
    assert all(20_000 < size <= 51_200 for size in sizes[:-1])
    with pytest.raises(RenderError):
        exported(
            "webdataset", tmp_path / "b", count=60, shard_size="40kB", synth=functools.partial(FakeSynth, broken=[50])
        )
    assert exported("webdataset", tmp_path / "b", count=60, shard_size="40kB").resumed > 0
    assert contents(tmp_path / "b") == contents(tmp_path / "set")
