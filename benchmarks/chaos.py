"""Chaos: what a stream keeps while workers, nodes and drivers die. Prints a table.

    python benchmarks/chaos.py                     each disturbance once
    python benchmarks/chaos.py --minutes 10        with another seed each time, for ten minutes

Each row is a few hundred cheap samples. `same` compares the SHA-256 over all that was consumed, in
order, with that of an undisturbed renderer; `missing` and `twice` count indices; `gap` is the longest
wait for a sample; `peak` the bytes asked for and not handed on; `end` the time to shut down.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from nanostream.dataset import StreamingDataset
from nanostream.stream.ray import RayEngine
from nanostream.testing import FakeRecipe, FakeSynth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

RECIPE = FakeRecipe(height=64, width=64)
LARGE = FakeRecipe(height=640, width=700)
"""Samples of 1.3 MB."""
SECONDS = 0.004
_CLEAN_SECONDS = 90.0
_NODE_LOST_AT = 60
_DRIVERS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """What one disturbance left of the stream."""

    name: str
    samples: int
    same: bool
    missing: int
    twice: int
    gap_seconds: float
    peak_bytes: int
    end_seconds: float

    @property
    def whole(self) -> bool:
        """Whether nothing was lost, repeated or changed."""
        return self.same and not self.missing and not self.twice


class Consumed:
    """Hash over the samples in the order of consumption, and which they were."""

    def __init__(self) -> None:
        self.sha = hashlib.sha256()
        self.indices: list[int] = []
        self.gap_seconds = 0.0

    def add(self, index: int, image: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> None:
        """One sample: image uint8 (H, W), mask uint16 (H, W)."""
        self.indices.append(index)
        self.sha.update(index.to_bytes(8, "little") + image.tobytes() + mask.astype(np.uint16).tobytes())

    def batch(self, batch: dict[str, Any]) -> None:
        """All samples of a batch."""
        images = (batch["image"][:, 0] * 255).round().byte().numpy()
        for index, image, mask in zip(batch["index"].tolist(), images, batch["mask"].numpy(), strict=True):
            self.add(index, image, mask)

    def timed(self, source: Iterable[Any]) -> Iterator[Any]:
        """The same, with the longest wait noted."""
        items = iter(source)
        while True:
            began = time.perf_counter()
            item = next(items, None)
            if item is None:
                return
            self.gap_seconds = max(self.gap_seconds, time.perf_counter() - began)
            yield item

    def row(self, name: str, *, recipe: FakeRecipe, seed: int, peak_bytes: int, end_seconds: float) -> Row:
        """Compared with a renderer that nobody disturbs."""
        want, synth = Consumed(), FakeSynth(recipe)
        for index in range(len(set(self.indices))):
            sample = synth.render(seed=seed, index=index)
            want.add(index, sample.image, sample.mask)
        missing = len(set(range(max(self.indices) + 1)) - set(self.indices))
        return Row(
            name=name,
            samples=len(self.indices),
            same=want.sha.digest() == self.sha.digest(),
            missing=missing,
            twice=len(self.indices) - len(set(self.indices)),
            gap_seconds=self.gap_seconds,
            peak_bytes=peak_bytes,
            end_seconds=end_seconds,
        )


def engine_row(
    name: str,
    disturb: Callable[[RayEngine, random.Random, int], None],
    *,
    seed: int,
    count: int = 300,
    recipe: FakeRecipe = RECIPE,
    synth: Any = None,
    **settings: Any,
) -> Row:
    """Samples of an engine; `disturb(engine, random, number)` is called before each."""
    chance, consumed = random.Random(seed), Consumed()
    engine = RayEngine(recipe, seed=seed, synth=synth or functools.partial(FakeSynth, seconds=SECONDS), **settings)
    with contextlib.closing(engine):
        assert engine.build
        born = set(engine.pids())
        samples = engine.samples((range(start, start + 4) for start in itertools.count(0, 4)), ahead=32)
        for number, sample in enumerate(itertools.islice(consumed.timed(samples), count)):
            consumed.add(sample.index, sample.image, sample.mask)
            disturb(engine, chance, number)
        samples.close()
        peak = engine.counters.stats().peak_bytes_in_flight
        began = time.perf_counter()
    while any(pathlib.Path(f"/proc/{pid}").exists() for pid in born) and time.perf_counter() - began < _CLEAN_SECONDS:
        time.sleep(0.02)
    end = time.perf_counter() - began
    return consumed.row(name, recipe=recipe, seed=seed, peak_bytes=peak, end_seconds=end)


def quiet(_engine: RayEngine, _chance: random.Random, _number: int) -> None:
    """Disturb nothing."""


def signalled(what: signal.Signals, times: tuple[int, ...]) -> Callable[[RayEngine, random.Random, int], None]:
    """Send a signal to a worker chosen at random, each time so many samples have come."""

    def disturb(engine: RayEngine, chance: random.Random, number: int) -> None:
        if number in times:
            with contextlib.suppress(Exception):
                os.kill(chance.choice(engine.pids()), what)

    return disturb


def killed_workers(seed: int) -> Row:
    """SIGKILL of a worker, three times."""
    return engine_row("worker killed, 3 times", signalled(signal.SIGKILL, (40, 120, 200)), seed=seed, workers=3)


def frozen_worker(seed: int) -> Row:
    """SIGSTOP of a worker."""
    return engine_row("worker frozen", signalled(signal.SIGSTOP, (60,)), seed=seed, workers=3)


def delays(seed: int) -> Row:
    """Samples that take from 2 to 42 ms."""
    synth = functools.partial(FakeSynth, seconds=0.002, jitter_seconds=0.04)
    return engine_row("calls delayed at random", quiet, seed=seed, workers=3, synth=synth)


def full_store(seed: int) -> Row:
    """An object store with room for a few samples only."""
    import ray

    ballast = []

    def disturb(_engine: RayEngine, _chance: random.Random, number: int) -> None:
        if number == 0:
            ballast.extend(ray.put(np.full(8 << 20, n, np.uint8)) for n in range(10))

    return engine_row("object store full", disturb, seed=seed, workers=3, count=200, recipe=LARGE)


def cuts(seed: int) -> Row:
    """Workers, ranks, batch size and DataLoader workers change at each cut."""
    from torch.utils.data import DataLoader

    chance, consumed, peak, end = random.Random(seed), Consumed(), 0, 0.0
    state: dict[str, Any] | None = None
    worlds = [(1, 7, 0), (3, 2, 0), (2, 4, 0), (1, 5, 2), (1, 3, 0), (2, 6, 0)]
    chance.shuffle(worlds)
    for ranks, batch_size, loaders in worlds:
        count, place, of_ranks = chance.randint(4, 9), None, []
        for rank in range(ranks):
            dataset = StreamingDataset(
                RECIPE,
                seed=seed,
                batch_size=batch_size,
                rank=rank,
                world_size=ranks,
                engine="ray",
                workers=chance.randint(1, 3),
                lease=chance.randint(1, 9),
                synth=functools.partial(FakeSynth, seconds=SECONDS),
            )
            with dataset:
                if state is not None:
                    dataset.load_state_dict(state)
                loaded = {"num_workers": loaders, "multiprocessing_context": "spawn"} if loaders else {}
                batches = list(itertools.islice(DataLoader(dataset, batch_size=None, **loaded), count))
                place = dataset.state_dict(after=batches[-1])
                peak = max(peak, dataset.stats.peak_bytes_in_flight)
                began = time.perf_counter()
            end = max(end, time.perf_counter() - began)
            of_ranks.append(batches)
        state = place
        for step in zip(*of_ranks, strict=True):
            for batch in step:
                consumed.batch(batch)
    return consumed.row("world changed at 5 cuts", recipe=RECIPE, seed=seed, peak_bytes=peak, end_seconds=end)


def killed_node(seed: int) -> Row:
    """A second local Ray node killed with all its workers. Needs a process that holds no Ray."""
    import ray
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ns-chaos-", dir="/tmp")
    common = {"include_dashboard": False, "object_store_memory": 100 << 20}
    # Ray notes the address of a cluster's head below this folder, and makes no folder for it.
    os.environ["RAY_TMPDIR"] = folder
    (pathlib.Path(folder) / "ray").mkdir()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "temp_dir": folder, **common})
    try:
        second = cluster.add_node(num_cpus=2, **common)
        ray.init(address=cluster.address, log_to_driver=False, configure_logging=False, namespace="nanostream")
        cluster.wait_for_nodes()

        # It returns when the cluster has noticed; the stream goes on meanwhile.
        killer = threading.Thread(target=cluster.remove_node, args=(second,), kwargs={"allow_graceful": False})

        def disturb(_engine: RayEngine, _chance: random.Random, number: int) -> None:
            if number == _NODE_LOST_AT:
                killer.start()

        synth = functools.partial(FakeSynth, seconds=0.03)
        row = engine_row("node killed", disturb, seed=seed, workers=3, synth=synth)
        killer.join()
        return row
    finally:
        ray.shutdown()
        cluster.shutdown()
        del os.environ["RAY_TMPDIR"]
        shutil.rmtree(folder, ignore_errors=True)


def killed_driver(seed: int) -> Row:
    """SIGKILL of the training process, twice; each time the next one goes on from the last state.

    `end` is the time until no process and no folder of its Ray is left.
    """
    consumed, end, chance = Consumed(), 0.0, random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="ns-chaos-", dir="/tmp") as name:
        folder = pathlib.Path(name)
        for number in range(_DRIVERS):
            with subprocess.Popen(
                [sys.executable, __file__, "--driver", str(folder), "--seed", str(seed)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            ) as driver:
                assert driver.stdout is not None
                ray_folder = driver.stdout.readline().strip()
                assert ray_folder, "the training process did not start"
                for _ in range(chance.randint(15, 25)):
                    driver.stdout.readline()
                driver.send_signal(signal.SIGKILL if number < _DRIVERS - 1 else signal.SIGTERM)
                driver.wait()
            began = time.perf_counter()
            while left(ray_folder) and time.perf_counter() - began < _CLEAN_SECONDS:
                time.sleep(0.05)
            end = max(end, time.perf_counter() - began)
        state = json.loads((folder / "state.json").read_text())
        for file in sorted(folder.glob("batch-*.npz")):
            # A batch that was consumed behind the last state comes again, as after any checkpoint.
            with np.load(file, allow_pickle=False) as batch:
                for index, image, mask in zip(batch["index"], batch["image"], batch["mask"], strict=True):
                    if index < state["next_index"]:
                        consumed.add(int(index), image, mask)
    return consumed.row("driver killed, 2 times", recipe=RECIPE, seed=seed, peak_bytes=0, end_seconds=end)


def left(folder: str) -> list[str]:
    """What is still there of the Ray that had this folder: processes, and the folder."""
    found = [folder] if pathlib.Path(folder).exists() else []
    for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if folder.encode() in entry.read_bytes():
                found.append(entry.parent.name)
    return found


def drive(folder: pathlib.Path, seed: int) -> None:
    """A training process: consumes, saves its place, and says so, until it is ended."""
    from nanostream.stream import cluster

    synth = functools.partial(FakeSynth, seconds=SECONDS)
    dataset = StreamingDataset(RECIPE, seed=seed, batch_size=5, engine="ray", workers=2, synth=synth)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    place = folder / "state.json"
    with dataset:
        if place.exists():
            dataset.load_state_dict(json.loads(place.read_text()))
        for batch in dataset:
            if batch["index"][0] == 0 or not getattr(drive, "said", False):
                assert cluster._current is not None  # noqa: SLF001 - whose folder is to be gone in the end
                print(cluster._current.temp_dir, flush=True)  # noqa: SLF001
                drive.said = True  # type: ignore[attr-defined]
            image = (batch["image"][:, 0] * 255).round().byte().numpy()
            first = int(batch["index"][0])
            content = {"index": batch["index"].numpy(), "image": image, "mask": batch["mask"].numpy()}
            partial = folder / "partial.npz"
            np.savez(partial, **content)
            partial.replace(folder / f"batch-{first:06d}.npz")
            written = folder / "state.partial"
            written.write_text(json.dumps(dataset.state_dict(after=batch)))
            written.replace(place)
            print(first, flush=True)


@contextlib.contextmanager
def small_ray() -> Iterator[None]:
    """A Ray with more CPUs on paper than there are, and the smallest object store that it takes."""
    import ray

    folder = tempfile.mkdtemp(prefix="ns-chaos-", dir="/tmp")
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=100 << 20,
        _temp_dir=folder,
    )
    try:
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


IN_ONE_RAY = (killed_workers, frozen_worker, delays, full_store, cuts)
IN_THEIR_OWN = (killed_node, killed_driver)


def table(rows: Iterable[Row]) -> str:
    """The rows as a table in Markdown."""
    lines = [
        "| disturbance | samples | same | missing | twice | longest gap | peak in flight | end |",
        "|---|--:|---|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {row.name} | {row.samples} | {'yes' if row.same else 'NO'} | {row.missing} | {row.twice} "
        f"| {_figure(row.gap_seconds, 's')} | {_figure(row.peak_bytes / 1e6, 'MB')} | {_figure(row.end_seconds, 's')} |"
        for row in rows
    ]
    return "\n".join(lines)


def _figure(value: float, unit: str) -> str:
    return f"{value:.2f} {unit}" if value else "not measured"


def main() -> int:
    """Run all rows, again and again for the minutes asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--driver", type=pathlib.Path, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.driver is not None:
        drive(words.driver, words.seed)
        return 0
    warnings.simplefilter("ignore")
    rows: list[Row] = []
    until = time.monotonic() + 60 * words.minutes
    for seed in itertools.count(words.seed):
        with small_ray():
            rows += [disturbance(seed) for disturbance in IN_ONE_RAY]
        rows += [disturbance(seed) for disturbance in IN_THEIR_OWN]
        if time.monotonic() >= until:
            break
    print(table(worst(rows)))
    print(f"\n{len(rows)} disturbances, {sum(row.samples for row in rows)} samples, seeds from {words.seed}.")
    return 0 if all(row.whole for row in rows) else 1


def worst(rows: Iterable[Row]) -> list[Row]:
    """For each disturbance the sum of the counts and the worst of the rest."""
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row.name, []).append(row)
    return [
        Row(
            name=name,
            samples=sum(row.samples for row in some),
            same=all(row.same for row in some),
            missing=sum(row.missing for row in some),
            twice=sum(row.twice for row in some),
            gap_seconds=max(row.gap_seconds for row in some),
            peak_bytes=max(row.peak_bytes for row in some),
            end_seconds=max(row.end_seconds for row in some),
        )
        for name, some in by_name.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
