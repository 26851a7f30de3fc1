"""A Ray that a stream starts for itself: closed to others, quiet, and refused where there is no room for it."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest
import ray

from nanostream.errors import StreamError
from nanostream.stream.ray import RayEngine
from nanostream.testing import FakeRecipe

pytestmark = pytest.mark.slow

LISTEN = "0A"
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


def run(script: str, *before: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process that names no Ray, behind the words of another command."""
    return subprocess.run(
        [*before, sys.executable, "-c", script],
        env={name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


LISTENING = """
import pathlib
from nanostream.stream import cluster
from nanostream.stream.ray import RayEngine
from nanostream.stream.reaper import _holders
from nanostream.testing import FakeRecipe

with RayEngine(FakeRecipe(), workers=2, synth="nanostream.testing:FakeSynth") as engine:
    engine.sample(0)
    pids = _holders(cluster._current.own.temp_dir, None)
    assert set(engine.pids()) < set(pids)
    files = [file for pid in pids for file in pathlib.Path(f"/proc/{pid}/fd").iterdir() if file.is_symlink()]
    sockets = {str(file.readlink()) for file in files if file.exists()}
    for family in ("tcp", "tcp6"):
        for line in pathlib.Path("/proc/net", family).read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in sockets:
                print(fields[3], fields[1].split(":")[0])
"""


def test_listens_on_this_machine_alone() -> None:
    """Every port that any of its processes listens on is bound to 127.0.0.1."""
    listening = run(LISTENING)
    assert listening.returncode == 0, listening.stderr
    addresses = [line.split()[1] for line in listening.stdout.splitlines() if line.split()[0] == LISTEN]
    assert len(addresses) >= 5
    assert set(addresses) <= LOOPBACK


QUIET = """
import functools, itertools, os, signal, time
from nanostream.stream.ray import RayEngine
from nanostream.testing import FakeRecipe, FakeSynth

slow = functools.partial(FakeSynth, seconds=0.01)
with RayEngine(FakeRecipe(), workers=1, synth=slow) as engine:
    samples = engine.samples(range(start, start + 4) for start in itertools.count(0, 4))
    next(samples)
    os.kill(engine.pids()[0], signal.SIGKILL)
    until = time.monotonic() + 3
    while time.monotonic() < until:
        next(samples)
    assert engine.counters.stats().leases_again
    samples.close()
"""


def test_says_nothing() -> None:
    """Neither its start nor its end nor the death of a worker, which costs nothing, writes to stdout or stderr."""
    quiet = run(QUIET)
    assert quiet.returncode == 0, quiet.stderr
    assert (quiet.stdout, quiet.stderr) == ("", "")


REFUSED = """
import sys, tempfile, pathlib
from nanostream.errors import StreamError
from nanostream.stream.ray import RayEngine
from nanostream.testing import FakeRecipe

try:
    RayEngine(FakeRecipe(), synth="nanostream.testing:FakeSynth")
except StreamError as error:
    print(error)
import ray
assert not ray.is_initialized()
"""


@pytest.mark.parametrize(
    ("words", "setting", "sentence"),
    [
        (
            "-rm",
            "mount -t tmpfs -o size=64m tmpfs /dev/shm",
            "expected 100 MiB free in /dev/shm for Ray's object store",
        ),
        (
            "-rn",
            "ip link set lo up && echo '50000 50003' > /proc/sys/net/ipv4/ip_local_port_range",
            "expected 16 free ports on 127.0.0.1 for Ray, got 4 (",
        ),
    ],
    ids=["little shared memory", "no free port"],
)
def test_no_room_is_refused_before_it_starts(words: str, setting: str, sentence: str, tmp_path: pathlib.Path) -> None:
    """On a machine with 64 MiB of /dev/shm, or with four free ports, that is one sentence, and nothing is started."""
    shell = ["unshare", words, "sh", "-c", f'{setting} && exec "$0" "$@"']
    if subprocess.run([*shell, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody change a namespace of his own")
    refused = run(f"import tempfile; tempfile.tempdir = {str(tmp_path)!r}\n{REFUSED}", *shell)
    (line,) = refused.stdout.splitlines()
    assert not refused.stderr
    assert line.startswith(sentence)
    assert "engine='local'" in line
    assert not list(tmp_path.iterdir())


def test_ray_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Ray does not start, that is one sentence, and neither its folder nor the process that guards it stays."""
    folders = []

    def refuse(**settings: object) -> None:
        folders.append(str(settings["_temp_dir"]))
        msg = "the node timed out\nduring startup"
        raise OSError(msg)

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(StreamError, match=r"^expected Ray to start .*the node timed out during .*engine='local'"):
        RayEngine(FakeRecipe(), synth="nanostream.testing:FakeSynth")
    assert not pathlib.Path(folders[0]).exists()
    processes = [entry.read_bytes() for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline")]
    assert not [words for words in processes if folders[0].encode() in words]
