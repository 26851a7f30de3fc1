"""Clusters that somebody else has started, with the real Ray: joined, grown, or refused in one sentence."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import psutil
import pytest
import ray

from nanostream.stream import reaper

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

START = "import sys, ray; ray.__version__ = sys.argv.pop(1); from ray.scripts.scripts import main; main()"
COMMON = ["--dashboard-agent-listen-port=0", "--include-dashboard=false", "--object-store-memory=104857600"]
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef0123456789abcdef"}
OPEN = {"RAY_AUTH_MODE": "disabled"}


def free_port() -> int:
    with socket.create_server(("", 0)) as listening:
        return listening.getsockname()[1]


def environment(**more: str) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if not name.startswith("RAY_")}, **more}


@contextlib.contextmanager
def head(*more: str, env: dict[str, str], version: str = ray.__version__, port: int | None = None) -> Iterator[str]:
    """The address of a cluster that is none of ours; it says that it is of that version."""
    folder = tempfile.mkdtemp(prefix="ns-test-", dir="/tmp")
    port = port or free_port()
    words = ["start", "--head", f"--port={port}", f"--temp-dir={folder}", *COMMON, *more]
    try:
        with subprocess.Popen(
            [sys.executable, "-c", START, version, *words],
            env=environment(RAY_USAGE_STATS_ENABLED="0", **env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as starting:
            assert starting.stdout is not None
            assert starting.wait(timeout=120) == 0, starting.stdout.read()
        yield pathlib.Path(folder, "ray_current_cluster").read_text().strip()
    finally:
        # The server behind ray:// names no folder.
        end_session(starting.pid)
        script = pathlib.Path(reaper.__file__)
        subprocess.run([sys.executable, script, folder, "0"], input=b"closed", timeout=90, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def end_session(session: int) -> None:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == session:
                process.kill()


def drive(script: str, *words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a script that joins a cluster: Ray reads its token but once in a process."""
    return subprocess.run(
        [sys.executable, "-c", script, *words],
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


JOIN = """
import sys
from nanostream.errors import StreamError
from nanostream.stream.ray import RayEngine
from nanostream.testing import FakeRecipe

try:
    with RayEngine(FakeRecipe(), address=sys.argv[1], synth="nanostream.testing:FakeSynth") as engine:
        print("rendered", engine.sample(3).index)
except StreamError as error:
    print(error)
"""


def refusal(address: str, env: dict[str, str]) -> str:
    """What joining says; it says so in one line, and nothing on stderr."""
    joined = drive(JOIN, address, env=env)
    assert joined.returncode == 0, joined.stderr
    (line,) = joined.stdout.splitlines()
    assert not joined.stderr
    assert line.startswith(f"expected a Ray cluster at {address!r} that this process may join, got ")
    return line


def test_clusters_that_let_nobody_in() -> None:
    """No token, a wrong token and another version are each refused in one sentence that says what to do."""
    with head("--num-cpus=1", env=TOKEN, version="2.40.0") as address:
        assert "wants another token" in refusal(address, OPEN)
        assert "set RAY_AUTH_MODE=token" in refusal(address, {**TOKEN, "RAY_AUTH_TOKEN": "f" * 32})
        line = refusal(address, TOKEN)
        assert "one of Ray 2.40.0 and Python" in line
        assert f"this process has Ray {ray.__version__}" in line


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}"])
def test_nobody_there(address: str) -> None:
    """An address at which nothing listens is refused at once, where Ray itself would try for minutes."""
    assert "Connection refused; check the address" in refusal(address.format(port=free_port()), OPEN)


GROW = """
import functools, itertools, json, sys, time, warnings
import ray
from ray.experimental.internal_kv import _internal_kv_get
from nanostream.stream.ray import RayEngine
from nanostream.testing import FakeRecipe, FakeSynth

def demand():
    status = json.loads(_internal_kv_get(b"__autoscaling_status") or b"{}")
    return status.get("load_metrics_report", {}).get("resource_demand")

warnings.simplefilter("error")
synth = functools.partial(FakeSynth, seconds=0.02)
with RayEngine(FakeRecipe(), address=sys.argv[1], workers=(1, 2), synth=synth) as engine:
    before = ray.cluster_resources().get("CPU", 0)
    samples = engine.samples(range(start, start + 4) for start in itertools.count(0, 4))
    count, until = 0, time.monotonic() + 120
    while (engine.workers < 2 or demand() != [[{"CPU": 1.0}, 1]]) and time.monotonic() < until:
        assert next(samples).index == count
        count += 1
    samples.close()
    print(before, ray.cluster_resources()["CPU"], engine.workers, demand())
"""


def test_autoscaler_adds_nodes_for_workers() -> None:
    """On a cluster without a CPU, Ray's autoscaler adds a node for the least of a span, and sees the need for more.

    Its stand-in for a cloud never counts a node as there, and so adds none for the second worker.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ns-test-", dir="/tmp"))
        port, address = free_port(), ray.util.get_node_ip_address()
        nodes = {"resources": {"CPU": 1, "object_store_memory": 104857600}, "node_config": {}, "max_workers": 3}
        config = {
            "cluster_name": "fake",
            "max_workers": 3,
            "provider": {
                "type": "fake_multinode",
                "gcs_address": f"{address}:{port}",
                "launch_multiple": True,
                "disable_node_updaters": True,
            },
            "head_node_type": "ray.head.default",
            "idle_timeout_minutes": 1,
            "upscaling_speed": 1.0,
            "available_node_types": {
                "small": nodes,
                "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            },
            "auth": {"ssh_user": "nobody"},
            "file_mounts": {},
            **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
            "file_mounts_sync_continuously": False,
            **{
                f"{name}_commands": []
                for name in (
                    "setup",
                    "head_setup",
                    "worker_setup",
                    "initialization",
                    "head_start_ray",
                    "worker_start_ray",
                )
            },
        }
        file = pathlib.Path(folder, "cluster.json")
        file.write_text(json.dumps(config))
        env = {
            **OPEN,
            "RAY_FAKE_CLUSTER": "1",
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        }
        cluster = stack.enter_context(head("--num-cpus=0", f"--autoscaling-config={file}", env=env, port=port))
        grown = drive(GROW, cluster, env=OPEN)
        assert grown.stdout == "0 1.0 2 [[{'CPU': 1.0}, 1]]\n", grown.stderr


CLIENT = """
import functools, itertools, os, signal, sys, warnings
from torch.utils.data import DataLoader
from nanostream.dataset import StreamingDataset
from nanostream.stream.ray import RayEngine
from nanostream.stream.scale import Workers
from nanostream.testing import FakeRecipe, FakeSynth, assert_in_order

if __name__ == "__main__":
    slow = functools.partial(FakeSynth, seconds=0.01)
    with RayEngine(FakeRecipe(), address=sys.argv[1], workers=2, synth=slow) as engine:
        samples = engine.samples(range(start, start + 4) for start in itertools.count(0, 4))
        got = [next(samples).index for _ in range(20)]
        os.kill(engine.pids()[0], signal.SIGKILL)
        assert got + [next(samples).index for _ in range(60)] == list(range(80))
        samples.close()
    with StreamingDataset(FakeRecipe(), address=sys.argv[1], workers=(1, 2), synth=slow) as dataset:
        assert_in_order(list(itertools.islice(DataLoader(dataset, batch_size=None), 3)))
    with warnings.catch_warnings(record=True) as said:
        with RayEngine(FakeRecipe(), address=sys.argv[1], workers=Workers(3, num_gpus=0.5), synth=slow) as engine:
            assert engine.workers == 2
            assert engine.sample(5).index == 5
    assert "Ray has free CPUs and GPUs for 2: going on with 2" in str(said[0].message)
    print("in order")
"""


def test_ray_client() -> None:
    """A cluster behind ray:// renders, loses a worker and keeps the order; so does an elastic pool; GPUs are shared."""
    pytest.importorskip("grpc", reason="ray:// needs ray[client]")
    port = free_port()
    with head("--num-cpus=4", "--num-gpus=1", f"--ray-client-server-port={port}", env=TOKEN):
        joined = drive(CLIENT, f"ray://127.0.0.1:{port}", env=TOKEN)
        assert joined.stdout == "in order\n", joined.stderr
