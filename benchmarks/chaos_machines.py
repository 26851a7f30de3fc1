"""Disturbances that need a Ray of their own: a node that dies with its workers, and a driver.

python benchmarks/chaos_machines.py FOLDER SEED     the training process that is killed
"""

from __future__ import annotations

import contextlib
import functools
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
from typing import TYPE_CHECKING

import numpy as np
from chaos_row import CLEAN_SECONDS, RECIPE, SECONDS, Consumed, Row
from chaos_workers import engine_row

from nanostream.dataset import StreamingDataset
from nanostream.testing import FakeSynth

if TYPE_CHECKING:
    from nanostream.stream.ray import RayEngine

_NODE_LOST_AT = 60


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


def killed_driver(seed: int, *, times: int = 2) -> Row:
    """SIGKILL of the training process; each time the next one goes on from the last state.

    `end` is the time until no process and no folder of its Ray is left.
    """
    consumed, end, chance = Consumed(), 0.0, random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="ns-chaos-", dir="/tmp") as name:
        folder = pathlib.Path(name)
        for number in range(times + 1):
            with subprocess.Popen(
                [sys.executable, __file__, str(folder), str(seed)],
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
                driver.send_signal(signal.SIGKILL if number < times else signal.SIGTERM)
                driver.wait()
            began = time.perf_counter()
            while left(ray_folder) and time.perf_counter() - began < CLEAN_SECONDS:
                time.sleep(0.05)
            end = max(end, time.perf_counter() - began)
        state = json.loads((folder / "state.json").read_text())
        for file in sorted(folder.glob("batch-*.npz")):
            # A batch that was consumed behind the last state comes again, as after any checkpoint.
            with np.load(file, allow_pickle=False) as batch:
                for index, image, mask in zip(batch["index"], batch["image"], batch["mask"], strict=True):
                    if index < state["next_index"]:
                        consumed.add(int(index), image, mask)
    return consumed.row(
        f"driver killed, {times} {'time' if times == 1 else 'times'}",
        recipe=RECIPE,
        seed=seed,
        peak_bytes=0,
        end_seconds=end,
    )


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
                print(cluster._current.own.temp_dir, flush=True)  # noqa: SLF001
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


if __name__ == "__main__":
    drive(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
