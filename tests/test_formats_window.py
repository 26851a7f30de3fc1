"""An endless stream on a bounded disk: every slot whole at every moment, and goes on after a kill."""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import tarfile
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from nanostream.errors import StoreError
from nanostream.export import export_window
from nanostream.testing import FakeRecipe, FakeSynth

if TYPE_CHECKING:
    import pathlib

_RECIPE = FakeRecipe(height=64, width=64)
_WINDOW, _SLOTS = 400_000, 4


def ring(out: pathlib.Path, **options: Any) -> int:
    settings = {"window": _WINDOW, "slots": _SLOTS, "seed": 3, "count": 100, "synth": FakeSynth, **options}
    return export_window(_RECIPE, out=out, **settings)


def indices(path: pathlib.Path) -> list[int]:
    with tarfile.open(path) as tar:
        return [int(name.split(".")[0]) for name in tar.getnames()][::3]


def sidecar(path: pathlib.Path) -> dict[str, Any]:
    return json.loads(path.with_suffix(".json").read_bytes())


def test_ring_holds_the_latest_samples(tmp_path: pathlib.Path) -> None:
    """After any number of rounds the slots hold the latest samples without a gap, as the sidecars say."""
    out = tmp_path / "ring"
    assert ring(out, count=300) == 300
    slots = sorted(out.glob("*.tar"))
    assert len(slots) == _SLOTS
    held = []
    for slot in slots:
        own = indices(slot)
        assert own == list(range(sidecar(slot)["start"], sidecar(slot)["stop"]))
        assert sidecar(slot)["bytes"] == slot.stat().st_size
        held += own
    assert sorted(held) == list(range(min(held), 300))
    assert sum(path.stat().st_size for path in out.iterdir()) <= _WINDOW


def test_ring_goes_on(tmp_path: pathlib.Path) -> None:
    """A second run goes on behind the last sample, and another recipe, seed or size is refused."""
    out = tmp_path / "ring"
    assert ring(out) == 100
    assert ring(out) == 200
    held = sorted(index for slot in out.glob("*.tar") for index in indices(slot))
    assert held == list(range(held[0], 200))
    for changes in ({"seed": 4}, {"window": 2 * _WINDOW}, {"slots": 5}):
        with pytest.raises(StoreError, match="expected to go on with the ring"):
            ring(out, **changes)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="holds other things"):
        ring(tmp_path / "other")
    with pytest.raises(StoreError, match="choose a larger window"):
        ring(tmp_path / "small", window=70_000)


def folder_bytes(folder: pathlib.Path) -> int:
    """Bytes of a folder's files while another thread renames them: one that is gone has no bytes."""
    total = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def test_readers_meet_no_missing_slot(tmp_path: pathlib.Path) -> None:
    """While the ring turns, the webdataset library reads the fixed list of slots over and over, and never fails."""
    wds = pytest.importorskip("webdataset")
    out = tmp_path / "ring"
    ring(out, count=1)
    done = threading.Event()
    turning = threading.Thread(target=lambda: (ring(out, count=1500), done.set()))
    turning.start()
    rounds, most = 0, 0
    slots = [str(out / f"{slot:06d}.tar") for slot in range(_SLOTS)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while not done.is_set():
            records = list(wds.WebDataset(slots, shardshuffle=False).decode("l8"))
            assert len(records) >= _SLOTS
            for record in records:
                synth = FakeSynth(_RECIPE).render(seed=3, index=record["meta.json"]["index"])
                assert np.array_equal(record["mask.npy.gz"], synth.mask)
            most = max(most, folder_bytes(out))
            rounds += 1
    turning.join()
    assert rounds > 3
    assert most <= _WINDOW


@pytest.mark.slow
def test_killed_ring_goes_on(tmp_path: pathlib.Path) -> None:
    """After kill -9 at any moment every slot is whole, and the next run goes on without a gap."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nanostream.export", "nanostream.formats.window"])
    out = tmp_path / "ring"
    rng = np.random.default_rng(3)
    for _ in range(10):
        process = context.Process(
            target=functools.partial(ring, out, count=None, synth=functools.partial(FakeSynth, seconds=0.0005))
        )
        process.start()
        time.sleep(rng.uniform(0.1, 0.5))
        process.kill()
        process.join()
        if (out / "nanostream.json").exists():
            assert all(indices(out / f"{slot:06d}.tar") for slot in range(_SLOTS))
    stop = ring(out, count=50)
    held = sorted({index for slot in out.glob("*.tar") for index in indices(slot)})
    assert held == list(range(held[0], stop))
