"""An endless stream on a bounded disk: every slot whole at every moment, and goes on after a kill."""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import os
import signal
import subprocess
import tarfile
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
import zarr.storage

from nanostream.errors import StoreError
from nanostream.export import export_window
from nanostream.formats.verify import verify
from nanostream.stored import ZarrDataset
from nanostream.testing import FakeRecipe, FakeSynth

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

_RECIPE = FakeRecipe(height=64, width=64)
_SLOTS = 4
_WINDOW = {"webdataset": 400_000, "zarr": 700_000}
_ENDINGS = {"webdataset": ".tar", "zarr": ".zarr.zip"}


def ring(form: str, out: pathlib.Path, **options: Any) -> int:
    settings = {"window": _WINDOW[form], "slots": _SLOTS, "seed": 3, "count": 100, "synth": FakeSynth, **options}
    return export_window(_RECIPE, format=form, out=out, **settings)


def slot(form: str, out: pathlib.Path, number: int) -> pathlib.Path:
    return out / f"{number:06d}{_ENDINGS[form]}"


def indices(path: pathlib.Path) -> list[int]:
    """Indices of the samples in a slot, by tar or by zarr-python."""
    if path.suffix == ".tar":
        with tarfile.open(path) as tar:
            return [int(name.split(".")[0]) for name in tar.getnames()][::3]
    with contextlib.closing(zarr.storage.ZipStore(path, mode="r")) as store:
        return np.asarray(zarr.open_group(store, mode="r")["index"][:]).tolist()  # type: ignore[index]


def held_by(form: str, out: pathlib.Path) -> list[int]:
    return sorted({index for number in range(_SLOTS) for index in indices(slot(form, out, number))})


def masks(form: str, out: pathlib.Path) -> Iterator[tuple[int, np.ndarray[Any, Any]]]:
    """Index and mask of all samples, read by other people's libraries from a fixed list of slots."""
    slots = [slot(form, out, number) for number in range(_SLOTS)]
    if form == "webdataset":
        wds = pytest.importorskip("webdataset")
        for record in wds.WebDataset([str(path) for path in slots], shardshuffle=False).decode("l8"):
            yield record["meta.json"]["index"], record["mask.npy.gz"]
        return
    for path in slots:
        with contextlib.closing(zarr.storage.ZipStore(path, mode="r")) as store:
            root: Any = zarr.open_group(store, mode="r")
            yield from zip(root["index"][:].tolist(), root["mask"][:], strict=True)


def folder_bytes(folder: pathlib.Path) -> int:
    """Bytes of a folder's files while another thread renames them: one that is gone has no bytes."""
    total = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


both = pytest.mark.parametrize("form", _ENDINGS)


@both
def test_ring_holds_the_latest_samples(form: str, tmp_path: pathlib.Path) -> None:
    """After any number of rounds the slots hold the latest samples without a gap, as the sidecars say."""
    out = tmp_path / "ring"
    assert ring(form, out, count=1500) == 1500
    held = []
    for number in range(_SLOTS):
        path = slot(form, out, number)
        sidecar = json.loads((out / f"{number:06d}.json").read_bytes())
        own = indices(path)
        assert own == list(range(sidecar["start"], sidecar["stop"]))
        assert sidecar["bytes"] == path.stat().st_size
        held += own
    assert sorted(held) == list(range(min(held), 1500))
    assert len(list(out.iterdir())) == 2 * _SLOTS + 1
    assert _WINDOW[form] / 4 < folder_bytes(out) <= _WINDOW[form]


@both
def test_ring_goes_on(form: str, tmp_path: pathlib.Path) -> None:
    """A second run goes on behind the last sample, and another recipe, seed, size or format is refused."""
    out = tmp_path / "ring"
    assert ring(form, out) == 100
    assert ring(form, out) == 200
    held = held_by(form, out)
    assert held == list(range(held[0], 200))
    for changes in ({"seed": 4}, {"window": 2 * _WINDOW[form]}, {"slots": 5}):
        with pytest.raises(StoreError, match="expected to go on with the ring"):
            ring(form, out, **changes)
    with pytest.raises(StoreError, match="but its kind differs"):
        ring({"zarr": "webdataset", "webdataset": "zarr"}[form], out, window=_WINDOW[form])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="holds other things"):
        ring(form, tmp_path / "other")
    with pytest.raises(StoreError, match="choose a larger window"):
        ring(form, tmp_path / "small", window=70_000)


def test_only_single_files_make_slots(tmp_path: pathlib.Path) -> None:
    """A format of many files is refused, with those that can be."""
    with pytest.raises(StoreError, match="expected a window of webdataset or zarr, got 'coco'"):
        export_window(_RECIPE, format="coco", window="1MB", out=tmp_path / "ring", synth=FakeSynth)


def test_large_windows_have_more_slots(tmp_path: pathlib.Path) -> None:
    """What waits in memory for a slot stays below 64 MB, however large the window is."""
    export_window(_RECIPE, window="2GB", out=tmp_path / "ring", count=3, synth=FakeSynth)
    described = json.loads((tmp_path / "ring" / "nanostream.json").read_bytes())
    assert described["slots"] == 32
    assert described["slot_bytes"] < 64_000_000


@both
def test_verify_looks_at_every_slot(form: str, tmp_path: pathlib.Path) -> None:
    """A sound ring verifies; a changed slot, a missing one and a lying sidecar are told in one sentence each."""
    out = tmp_path / "ring"
    ring(form, out)
    assert verify(out) == []
    path = slot(form, out, 2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    (problem,) = verify(out)
    assert path.name in problem
    path.unlink()
    (problem,) = verify(out)
    assert f"expected {path.name}" in problem
    path.write_bytes(whole)
    sidecar = out / "000001.json"
    sidecar.write_bytes(sidecar.read_bytes().replace(b'"stop":', b'"stop":1'))
    (problem,) = verify(out)
    assert "000001.json" in problem


def test_zip_opens_with_other_tools(tmp_path: pathlib.Path) -> None:
    """A slot of Zarr comes apart with unzip, as a set that verifies, and TensorStore reads it in the zip."""
    tensorstore = pytest.importorskip("tensorstore")
    out = tmp_path / "ring"
    ring("zarr", out)
    path = slot("zarr", out, 0)
    subprocess.run(["unzip", "-q", path, "-d", tmp_path / "set"], check=True)  # noqa: S607 as a user
    assert verify(tmp_path / "set") == []
    batch = next(iter(ZarrDataset(tmp_path / "set", batch_size=4)))
    expected = [FakeSynth(_RECIPE).render(seed=3, index=index).mask for index in indices(path)[:4]]
    assert (batch["mask"].numpy() == np.stack(expected)).all()
    kvstore = {"driver": "zip", "base": f"file://{path}", "path": "mask/"}
    array = tensorstore.open({"driver": "zarr3", "kvstore": kvstore}).result()
    assert (array[:4].read().result() == np.stack(expected)).all()


@both
def test_same_samples_give_the_same_slots(form: str, tmp_path: pathlib.Path) -> None:
    """Two rings of one stream hold the same bytes."""
    for name in ("one", "two"):
        ring(form, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@both
def test_readers_meet_no_missing_slot(form: str, tmp_path: pathlib.Path) -> None:
    """While the ring turns, others read the fixed list of slots over and over, and never fail."""
    out = tmp_path / "ring"
    ring(form, out, count=1)
    done = threading.Event()
    turning = threading.Thread(target=lambda: (ring(form, out, count=3000), done.set()))
    turning.start()
    rounds, most = 0, 0
    synth = FakeSynth(_RECIPE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while not done.is_set():
            found = list(masks(form, out))
            assert len(found) >= _SLOTS
            for index, mask in found[:: max(1, len(found) // 20)]:
                assert np.array_equal(mask, synth.render(seed=3, index=index).mask)
            most = max(most, folder_bytes(out))
            rounds += 1
    turning.join()
    assert rounds > 3
    assert most <= _WINDOW[form]


def _endless(form: str, out: pathlib.Path, **options: Any) -> None:
    # Whoever starts tests in the background has them ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ring(form, out, count=None, synth=functools.partial(FakeSynth, seconds=0.0005), **options)


@pytest.fixture
def context() -> Any:
    """Processes that start at once, with what they need loaded."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["nanostream.export", "nanostream.formats.zarr"])
    return found


@pytest.mark.slow
@both
def test_killed_ring_goes_on(form: str, tmp_path: pathlib.Path, context: Any) -> None:
    """After kill -9 at any moment every slot is whole, and the next run goes on without a gap."""
    out = tmp_path / "ring"
    rng = np.random.default_rng(3)
    for _ in range(10):
        process = context.Process(target=functools.partial(_endless, form, out))
        process.start()
        time.sleep(rng.uniform(0.1, 0.5))
        process.kill()
        process.join()
        if (out / "nanostream.json").exists():
            assert all(indices(slot(form, out, number)) for number in range(_SLOTS))
    stop = ring(form, out, count=50)
    held = held_by(form, out)
    assert held == list(range(held[0], stop))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_ring(number: int, engine: str, tmp_path: pathlib.Path, context: Any) -> None:
    """SIGTERM ends a ring as Ctrl-C does: well, with a last slot of what was rendered, and nothing half-written."""
    out = tmp_path / "ring"
    process = context.Process(target=functools.partial(_endless, "webdataset", out, engine=engine))
    process.start()
    while process.is_alive() and not (out / "nanostream.json").exists():
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(process.pid, number)
    process.join(60)
    ended = process.exitcode
    process.kill()
    assert ended == 0
    assert not list(out.glob("*.partial"))
    held = held_by("webdataset", out)
    assert held == list(range(held[0], held[-1] + 1))
    assert verify(out) == []
