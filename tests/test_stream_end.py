"""However a stream ends, nothing of the Ray that was started for it stays: looked at from outside."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

SCRIPT = """
import functools, sys
from torch.utils.data import DataLoader
from nanostream.dataset import StreamingDataset
from nanostream.testing import FakeRecipe, FakeSynth

if __name__ == "__main__":
    end, loaders = sys.argv[1], int(sys.argv[2])
    synth = functools.partial(FakeSynth, seconds=0.01)
    dataset = StreamingDataset(FakeRecipe(), engine="ray", workers=1, synth=synth, batch_size=4)
    loaded = {"num_workers": loaders, "multiprocessing_context": "spawn"} if loaders else {}
    for number, batch in enumerate(DataLoader(dataset, batch_size=None, **loaded)):
        if number == 0:
            print("first batch", flush=True)
        if end == "leave" and number == 3:
            break
        if end == "raise" and number == 3:
            raise ValueError("in the training loop")
    if end == "leave":
        dataset.close()
    print("last line", flush=True)
"""


class Run:
    """A training script in a session and a temporary folder of its own, up to its first batch.

    Where this machine lets it, its /dev/shm is a folder of its own too, so that what others have there is not seen.
    """

    def __init__(self, folder: pathlib.Path, end: str, *, loaders: int) -> None:
        self.folder = folder
        script = folder / "script.py"
        script.write_text(SCRIPT)
        self.shared = pathlib.Path(tempfile.mkdtemp(prefix="ns-", dir="/dev/shm"))
        alone = ["unshare", "-rm", "sh", "-c", f'mount --bind {self.shared} /dev/shm && exec "$0" "$@"']
        if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
            alone = []
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.process = subprocess.Popen(
            [*alone, sys.executable, script, end, str(loaders)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment, "TMPDIR": str(folder)},
            start_new_session=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "first batch\n", self.process.communicate()[1]
        assert list(folder.glob("nanostream-*")), "a Ray in a folder of its own"

    def left(self) -> list[str]:
        """Processes, files in shared memory and temporary files that were not there before."""
        files = [path for path in self.folder.iterdir() if path.name != "script.py"]
        files += self.shared.iterdir()
        return [*map(str, files), *self.processes()]

    def processes(self) -> list[str]:
        """Those of the script's session, and those that name its folder."""
        found = []
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                session = (entry / "stat").read_text().rsplit(")", 1)[1].split()[3]
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            # What has no words any more is about to go, and waits for a processor to do so.
            if words and (int(session) == self.process.pid or str(self.folder) in words):
                found.append(f"{entry.name} {words[:200]}")
        return found

    def close(self) -> None:
        """Remove its folder in shared memory."""
        shutil.rmtree(self.shared)

    def wait_until_nothing_is_left(self, *, since: float, seconds: float) -> None:
        """Fail with what is left so many seconds after `since`."""
        while (left := self.left()) and time.monotonic() < since + seconds:
            time.sleep(0.02)
        assert not left
        self.close()


@pytest.fixture
def folder() -> Iterator[pathlib.Path]:
    """A temporary folder with a path that is short enough for Ray's sockets."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="ns-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.parametrize("end", ["leave", "raise", "interrupt"])
@pytest.mark.parametrize("loaders", [0, 1])
def test_every_end_leaves_nothing_within_five_seconds(end: str, loaders: int, folder: pathlib.Path) -> None:
    """Leaving early, an exception and Ctrl-C, also beside DataLoader workers, end it all within 5 s, and quietly."""
    run = Run(folder, end, loaders=loaders)
    if end == "interrupt":
        time.sleep(0.5)
        os.killpg(run.process.pid, signal.SIGINT)
    began = time.monotonic()
    stdout, stderr = run.process.communicate(timeout=60)
    run.wait_until_nothing_is_left(since=began, seconds=5.0)
    assert time.monotonic() - began < 5.0
    assert (run.process.returncode == 0) == (end == "leave"), stderr
    assert stdout == ("last line\n" if end == "leave" else "")
    says = {"leave": "", "raise": "ValueError: in the training loop", "interrupt": "KeyboardInterrupt"}[end]
    assert stderr.rstrip().endswith(says)
    assert stderr.count("Traceback") <= (end != "leave") * (1 + loaders), stderr


@pytest.mark.parametrize("loaders", [0, 1])
def test_killed_driver_leaves_nothing(loaders: int, folder: pathlib.Path) -> None:
    """After SIGKILL of the driver, also beside DataLoader workers, everything is gone within 90 s."""
    run = Run(folder, "never", loaders=loaders)
    run.process.kill()
    began = time.monotonic()
    run.wait_until_nothing_is_left(since=began, seconds=90.0)
    run.process.communicate(timeout=10)
