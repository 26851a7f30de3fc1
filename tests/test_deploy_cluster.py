"""Nodes that die and join, a training over ranks, a Slurm allocation and `ray up`, each on this machine."""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import ray.util
import torch
import yaml

from nanostream.testing import FakeSynth

if TYPE_CHECKING:
    from collections.abc import Iterator

STORE = 100 << 20
TOKEN = "a token of these tests alone, 0123456789"  # noqa: S105 - for a cluster that only they use
RENDERS_LITTLE = ["--synth", "nanostream.testing:FakeSynth", "--recipe-class", "nanostream.testing:FakeRecipe"]


@pytest.fixture(scope="module")
def chaos(repository: pathlib.Path) -> Iterator[Any]:
    """What benchmarks/chaos_row.py compares consumed samples with."""
    sys.path.insert(0, str(repository / "benchmarks"))
    yield importlib.import_module("chaos_row")
    sys.path.remove(str(repository / "benchmarks"))


@pytest.fixture
def short_folder() -> Iterator[pathlib.Path]:
    """A folder whose path leaves room for the names of Ray's sockets; what still uses it at the end is killed."""
    folder = tempfile.mkdtemp(prefix="ns-dep-", dir="/tmp")
    yield pathlib.Path(folder)
    for process in psutil.process_iter(["cmdline"]):
        if any(folder in word for word in process.info["cmdline"] or ()):
            with contextlib.suppress(psutil.Error):
                process.kill()
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def nodes(folder: pathlib.Path) -> Iterator[Any]:
    """A Ray cluster of a head without task slots; `add_node` adds nodes."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ["RAY_TMPDIR"] = str(folder)
    # As everything in deploy/ sets it: a node that died is noticed after 5 s instead of 15.
    os.environ["RAY_health_check_period_ms"] = "1000"  # noqa: SIM112 - as Ray spells it
    (folder / "ray").mkdir()
    common = {"include_dashboard": False, "object_store_memory": STORE}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "temp_dir": str(folder), **common})
    try:
        ray.init(address=cluster.address, log_to_driver=False, configure_logging=False, namespace="nanostream")
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        del os.environ["RAY_TMPDIR"], os.environ["RAY_health_check_period_ms"]  # noqa: SIM112 - as Ray spells it


def raylet(node: Any) -> int:
    """Process number of the raylet, which is the parent of its node's workers."""
    (process,) = node.all_processes["raylet"]
    return process.process.pid


def busy() -> float:
    """How many processes share a core, at least 1: what starts here takes so many times as long."""
    return max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))


@pytest.mark.slow
def test_a_node_dies_and_another_joins(chaos: Any, short_folder: pathlib.Path) -> None:
    """The stream is whole while a node is killed and one joins; on a quiet machine that one renders within 10 s."""
    from nanostream.stream.ray import RayEngine

    synth, consumed = functools.partial(FakeSynth, seconds=0.02), chaos.Consumed()
    with nodes(short_folder) as cluster:
        first, second = (cluster.add_node(num_cpus=1, object_store_memory=STORE) for _ in range(2))
        cluster.wait_for_nodes()
        with RayEngine(chaos.RECIPE, workers=2, synth=synth) as engine:
            samples = engine.samples(range(start, start + 4) for start in itertools.count(0, 4))

            def take(count: int) -> None:
                for sample in itertools.islice(samples, count):
                    consumed.add(sample.index, sample.image, sample.mask)

            take(60)
            parents = {psutil.Process(pid).ppid() for pid in engine.pids()}
            assert parents == {raylet(first), raylet(second)}
            cluster.remove_node(second, allow_graceful=False)
            take(60)
            newcomer = cluster.add_node(num_cpus=1, object_store_memory=STORE)
            joined = time.monotonic()
            # A worker that was lost starts again where there is room, and is asked as soon as it is warm.
            while sum(worker.ready and worker.heard_at > joined for worker in engine._pool.workers) < 2:
                assert time.monotonic() - joined < 10 * busy()
                take(2)
            assert {psutil.Process(pid).ppid() for pid in engine.pids()} == {raylet(first), raylet(newcomer)}
            take(60)
            samples.close()
        row = consumed.row("nodes", recipe=chaos.RECIPE, seed=0, peak_bytes=0, end_seconds=0.0)
        assert row.whole, row


@pytest.fixture
def ray_of_its_own(short_folder: pathlib.Path) -> dict[str, str]:
    """A Ray of three CPUs with a token, started from the command line: the environment that joins it."""
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}
    words = ["--head", "--port=0", "--num-cpus=3", "--include-dashboard=false", f"--object-store-memory={STORE}"]
    subprocess.run(
        [script("ray"), "start", *words, f"--temp-dir={short_folder}"], env=environment, check=True, capture_output=True
    )
    return {**environment, "RAY_ADDRESS": (short_folder / "ray_current_cluster").read_text().strip()}


def script(name: str) -> str:
    return str(pathlib.Path(sysconfig.get_path("scripts")) / name)


def torchrun(repository: pathlib.Path, folder: pathlib.Path, *, ranks: int, steps: int) -> list[str]:
    file = repository / "deploy" / "training" / "ddp.py"
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", str(file)),
        *("tio2-sem", *RENDERS_LITTLE, "--workers=2", "--batch-size=3", f"--steps={steps}"),
        *(f"--state={folder / 'place.pt'}", f"--indices={folder}"),
    ]


def taken(folder: pathlib.Path) -> dict[int, list[list[list[int]]]]:
    """Indices that each rank took in each step, by the number of ranks there were."""
    found: dict[int, list[list[list[int]]]] = {}
    for file in sorted(folder.glob("rank*.jsonl")):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for ranks in {line["ranks"] for line in lines}:
            found.setdefault(ranks, []).append([line["index"] for line in lines if line["ranks"] == ranks])
    return found


@pytest.mark.slow
def test_a_training_over_two_ranks_goes_on_with_four(
    repository: pathlib.Path, ray_of_its_own: dict[str, str], tmp_path: pathlib.Path
) -> None:
    """Two gloo ranks share one pool; stopped by SIGTERM, four go on; no index twice, none left out."""
    with subprocess.Popen(torchrun(repository, tmp_path, ranks=2, steps=100_000), env=ray_of_its_own) as training:
        wait_for(lambda: min((len(rank) for rank in taken(tmp_path).get(2, [[]])), default=0) >= 5)
        training.send_signal(signal.SIGTERM)
        training.wait(timeout=120)
    saved = torch.load(tmp_path / "place.pt", weights_only=True)["stream"]["next_index"]
    done = subprocess.run(
        torchrun(repository, tmp_path, ranks=4, steps=3), env=ray_of_its_own, timeout=300, check=False
    )
    assert done.returncode == 0
    by_ranks = taken(tmp_path)
    assert {ranks: len(of_ranks) for ranks, of_ranks in by_ranks.items()} == {2: 2, 4: 4}
    before, after = (sorted(i for rank in by_ranks[n] for step in rank for i in step) for n in (2, 4))
    assert before == list(range(saved))
    assert after == list(range(saved, saved + 4 * 3 * 3))


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_for(done: Any, seconds: float = 240.0) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until
        time.sleep(0.2)


SRUN = """#!{python}
import os, sys
words = [word for word in sys.argv[1:]]
while words and words[0].startswith("--"):
    words.pop(0)
os.execvp(words[0], words)
"""
SCONTROL = "#!/bin/sh\nprintf 'node1\\nnode2\\n'\n"
HOSTNAME = "#!/bin/sh\necho ::1 {address}\n"


@pytest.mark.slow
def test_the_slurm_script_runs_a_training_over_its_nodes(
    repository: pathlib.Path, short_folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """With Slurm's commands played by ours, two nodes join with a token, the training ends, and all is removed."""
    commands, submitted = tmp_path / "bin", tmp_path / "submitted"
    hostname = HOSTNAME.format(address=ray.util.get_node_ip_address())
    for name, text in (("srun", SRUN.format(python=sys.executable)), ("scontrol", SCONTROL), ("hostname", hostname)):
        file = commands / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    submitted.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "PATH": os.pathsep.join([str(commands), str(pathlib.Path(sys.executable).parent), os.environ["PATH"]]),
        "NANOSTREAM_ENV": sys.prefix,
        "NANOSTREAM_CHECKOUT": str(repository),
        "SLURM_JOB_ID": short_folder.name,
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_SUBMIT_DIR": str(submitted),
        "SLURM_CPUS_PER_TASK": "2",
        "RAY_PORT": str(free_port()),
    }
    file = repository / "deploy" / "slurm" / "train.sbatch"
    words = [*RENDERS_LITTLE, "--workers=2", "--batch-size=3", "--steps=4", f"--indices={tmp_path}"]
    done = subprocess.run(
        ["/bin/bash", str(file), "tio2-sem", *words, f"--state={tmp_path / 'place.pt'}"],
        env=environment,
        cwd=submitted,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert sorted(i for step in taken(tmp_path)[1][0] for i in step) == list(range(12))
    assert not list(submitted.iterdir())
    assert not pathlib.Path(f"/tmp/ray-{short_folder.name}").exists()
    left = [p.info["cmdline"] for p in psutil.process_iter(["cmdline"]) if f"ray-{short_folder.name}" in str(p.info)]
    assert not left


def test_the_slurm_script_is_sound_and_keeps_its_secret(repository: pathlib.Path) -> None:
    """Bash takes the script, shellcheck too where it is; the token is made for the job and never on a command line."""
    file = repository / "deploy" / "slurm" / "train.sbatch"
    checks = [["/bin/bash", "-n", str(file)]]
    if found := shutil.which("shellcheck"):
        checks.append([found, str(file)])
    for words in checks:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    text = file.read_text(encoding="utf-8")
    assert "umask 077" in text
    assert "RAY_AUTH_TOKEN=" not in text


def test_ray_up_takes_the_cluster_file(repository: pathlib.Path) -> None:
    """Ray's own check takes the file, the head has no task slots, and both ask for the token."""
    util = pytest.importorskip("ray.autoscaler._private.util")
    config = yaml.safe_load((repository / "deploy" / "ray" / "cluster.yaml").read_text(encoding="utf-8"))
    util.validate_config(util.prepare_config(config))
    (head,) = [line for line in config["head_start_ray_commands"] if "start" in line]
    (worker,) = [line for line in config["worker_start_ray_commands"] if "start" in line]
    assert "--num-cpus=0" in head
    assert all("RAY_AUTH_MODE=token" in line for line in (head, worker))
