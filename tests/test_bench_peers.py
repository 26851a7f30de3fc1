"""The comparison with what a user would pick instead: its loop, its kill and its table, and a tiny run of it."""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from benchmark_scripts import script

from nanostream.recipe import Recipe

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

COUNTING = """
import itertools, multiprocessing, time

class Counting:
    keeps, repeats, broken, seconds = {keeps}, {repeats}, {broken}, {seconds}

    def __init__(self, settings):
        self.size = settings.batch_size
        multiprocessing.Process(target=time.sleep, args=({lingers},), daemon=True).start()

    def batches(self, state):
        if self.broken:
            raise ValueError("broken on purpose")
        for start in itertools.count(state["next"] if state else 0, self.size):
            time.sleep(self.seconds)
            yield {{"index": [i % self.repeats for i in range(start, start + self.size)]}}

    def state(self, batch):
        return {{"next": batch["index"][-1] + 1}} if self.keeps else None
"""


@pytest.fixture
def child(repository: pathlib.Path) -> Iterator[Any]:
    """What starts and kills a peer."""
    with script(repository, "peers_child") as module:
        yield module


def _run(child: Any, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, *, limit: float = 60, **words: Any) -> Any:
    filled = {"keeps": True, "repeats": 10**9, "broken": False, "lingers": 0, "seconds": 0.002, **words}
    (folder / "counting.py").write_text(COUNTING.format(**filled))
    settings = {"peer": "counting:Counting", "recipe": "none", "folder": str(folder), "workers": 1, "seconds": 0.2}
    # A peer of this test's own, beside the loop.
    monkeypatch.setattr(child, "_LOOP", _beside(child._LOOP, folder))
    return child.run_child(sys.executable, settings, limit_seconds=limit)


def _beside(loop: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    copy = folder / loop.name
    copy.write_text(loop.read_text())
    return copy


def test_a_peer_with_a_place_goes_on(child: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that saves its place gives the next sample after kill -9, and its figures are those of an endless stream."""
    found = _run(child, tmp_path, monkeypatch)
    assert found["resumed"] == "the next sample"
    assert found["distinct"] == found["seen"] > 40
    assert len(found["rates"]) == 5
    assert all(0 < rate <= 4 / 0.002 for rate in found["rates"])
    # It trains at 0.8 of what comes, so it hardly waits.
    assert len(found["waits"]) == 5
    assert all(0 <= share < 1 for share in found["waits"])
    assert found["peak_bytes"] > 1e6
    assert found["left"] == 0


def test_a_peer_without_a_place_begins_again(
    child: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that saves nothing gives its first samples again, and one that comes round has no more than it has."""
    found = _run(child, tmp_path, monkeypatch, keeps=False, repeats=12)
    assert found["resumed"] == "the first sample: 12 of 12 again"
    assert found["distinct"] == 12 < found["seen"]


def test_what_a_kill_leaves_behind_is_counted_and_ended(
    child: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that outlives its parent counts as left, and is gone afterwards."""
    monkeypatch.setattr(child, "_LEFT_AFTER_SECONDS", 0.2)
    found = _run(child, tmp_path, monkeypatch, lingers=600)
    assert found["left"] == 1


def test_a_peer_that_fails_says_why(child: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an exception said stands in the place of figures."""
    assert _run(child, tmp_path, monkeypatch, broken=True) == "failed: ValueError: broken on purpose"


def test_a_peer_that_hangs_is_ended(child: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that delivers nothing is killed at its limit, also where a process that it started lives on."""
    monkeypatch.setattr(child, "_LEFT_AFTER_SECONDS", 0.2)
    found = _run(child, tmp_path, monkeypatch, limit=3, lingers=600, seconds=600)
    assert found == "failed: nothing within 3 s"


def test_windows_count_every_batch_once(repository: pathlib.Path) -> None:
    """Five windows of equal numbers of batches: their harmonic mean is the rate of all."""
    with script(repository, "peers_loop") as loop:
        arrivals = [0.0, 1.0, 3.0, 4.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 20.0]
        rates = loop.window_rates(arrivals, 4)
    assert rates == pytest.approx([8 / 3, 8 / 5, 8 / 2, 8 / 2, 8 / 8])
    assert 5 / math.fsum(1 / rate for rate in rates) == pytest.approx(40 / 20)


def test_the_table_says_what_is_not_measured(repository: pathlib.Path) -> None:
    """Ratios are of the same round, and one that could not run has its reason in its row."""
    run = {"distinct": 9, "seen": 9, "waits": [0.1] * 5, "first_seconds": 1.0, "peak_bytes": 2e8, "left": 0}
    run |= {"resumed": "the next sample"}
    with script(repository, "peers_table") as peers_table:
        ours, theirs, none = (peers_table.Row(title=title) for title in ("ours", "theirs", "none"))
        ours.runs = [run | {"round": 0, "rates": [10.0] * 5}, run | {"round": 1, "rates": [20.0] * 5}]
        theirs.runs = [run | {"round": 0, "rates": [5.0] * 5, "distinct": 4}]
        none.skipped = "not installed"
        lines = peers_table.table({"ours": ours, "theirs": theirs, "none": none}, ours="ours").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert {len(row) for row in cells} == {11}
    assert cells[2][:3] == ["ours", "15.0 (10.0 to 20.0)", "1.00"]
    assert cells[3][2] == "0.50"
    assert (cells[2][8], cells[3][8]) == ("54,000", "4")
    assert cells[4][1] == "not measured: not installed"


def test_every_peer_is_there(repository: pathlib.Path) -> None:
    """Each name of the comparison is a class of a file beside it, and the quick form leaves out five."""
    with script(repository, "peers") as peers:
        for name, (title, where) in peers.PEERS.items():
            file, _, noun = where.partition(":")
            assert title
            assert f"class {noun}" in (repository / "benchmarks" / f"{file}.py").read_text(), name
        assert set(peers.PEERS) - set(peers.QUICK) == {
            "ours-1",
            "ray-data-mitsuba",
            "ray-data-own",
            "zeromq-mitsuba",
            "monai",
        }


@pytest.mark.slow
def test_a_pool_that_is_too_small_is_waited_for(repository: pathlib.Path) -> None:
    """A training that takes twice what one worker renders waits for it half of its time, and for four hardly."""
    with script(repository, "pools") as pools:
        found = pools.waits_for_pools(
            Recipe.preset("tio2-sem"),
            (1, 4),
            render_seconds=0.1,
            train_rate=20.0,
            words=argparse.Namespace(seed=0, seconds=5.0),
        )
        lines = pools.table(found, [0.0], render_seconds=0.1).splitlines()
    assert len(found[1]) == len(found[4]) == 5
    # Other work on the machine may hold up any one window, but not all.
    assert statistics.median(found[1]) > 0.3
    assert min(found[4]) < 0.2
    assert lines[2].startswith("| 1 worker | 10.0 samples/s | ")
    assert lines[-1] == "| fixed set, WebDataset | | 0.0 % (0.0 to 0.0) |"


@pytest.mark.slow
def test_the_comparison_runs(repository: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """In its tiniest form nanostream goes on behind a kill with the next sample, and a DataLoader with its first."""
    command = [sys.executable, repository / "benchmarks" / "peers.py", "--only", "loader-own", "webdataset"]
    command += ["--rounds", "1", "--seconds", "0.5", "--count", "8", "--workers", "1", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "peers.json").read_text())
    resumed = {name: row["runs"][0]["resumed"] for name, row in found.items()}
    assert resumed["ours"] == "the next sample"
    assert resumed["loader-own"].startswith("the first sample")
    assert resumed["webdataset"].startswith("the first sample")
    assert found["webdataset"]["in_an_hour"] == 8
    assert found["ours"]["runs"][0]["distinct"] == found["ours"]["runs"][0]["seen"]
    assert "| nanostream |" in done.stdout
    assert (tmp_path / "peers.svg").read_text().startswith("<svg")
