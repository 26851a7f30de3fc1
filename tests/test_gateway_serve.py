"""`nanostream serve` as others use it: real clients, real samples, workers and servers that die, and the end."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import itertools
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import requests
import webdataset
import zarr
from playwright.sync_api import sync_playwright
from torch.utils.data import DataLoader

import nanostream as ns
from nanostream.gateway.config import GatewayConfig
from nanostream.gateway.server import serving
from nanostream.synth import Synth
from nanostream.testing import FakeRecipe, FakeSynth

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanostream.sample import Sample

pytestmark = pytest.mark.slow
RAY_CPUS = 4


@contextlib.contextmanager
def process(*command: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, and its address; killed with all its children if it does not end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "NANOSTREAM_"))}
    # Short, because Ray puts sockets there; its own, so that what is left can be seen.
    folder = tempfile.mkdtemp(prefix="ns-", dir="/tmp")
    environment["TMPDIR"] = folder
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    assert server.stdout is not None
    reader = threading.Thread(target=lambda: [lines.put(line) for line in server.stdout or ()], daemon=True)
    reader.start()
    server.folder = pathlib.Path(folder)  # type: ignore[attr-defined]
    said = []
    try:
        while not (found := [line for line in said if line.startswith("Serving")]):
            said.append(lines.get(timeout=120))
        address = found[0].split(" at ")[1].split("/ ")[0]
        until = time.monotonic() + 120
        while requests.get(f"{address}/readyz", timeout=60).status_code != 200:
            assert time.monotonic() < until, said
            time.sleep(0.1)
        yield server, address
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        server.stdout.close()
        reader.join(10)
        shutil.rmtree(folder, ignore_errors=True)


def serve(*options: str) -> contextlib.AbstractContextManager[tuple[subprocess.Popen[str], str]]:
    command = "import nanostream.cli; raise SystemExit(nanostream.cli.main())"
    return process(sys.executable, "-c", command, "serve", "tio2-sem", "--port", "0", *options)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The README's command, with small shards."""
    with serve("--shard-size", "6", "--workers", "2") as (_, address):
        yield address


@pytest.fixture(scope="module")
def alone() -> list[Sample]:
    synth = Synth(ns.Recipe.preset("tio2-sem"))
    return [synth.render(seed=0, index=index) for index in range(12)]


@pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:The given NumPy array is not writable")
def test_webdataset_in_a_dataloader_with_two_workers(address: str, alone: list[Sample]) -> None:
    """Webdataset's own loader reads two shards in two processes; each sample's pixels are the local renderer's."""
    urls = f"{address}/v1/tio2-sem/shards/0/{{000000..000001}}.tar"
    dataset = (
        webdataset.WebDataset(urls, shardshuffle=False).decode("l8").to_tuple("__key__", "image.png", "mask.npy.gz")
    )
    got = {int(key): (image, mask) for key, image, mask in DataLoader(dataset, batch_size=None, num_workers=2)}
    assert sorted(got) == list(range(12))
    for index, (image, mask) in got.items():
        assert np.array_equal(image, alone[index].image)
        assert np.array_equal(mask, alone[index].mask)
        assert np.asarray(mask).dtype == np.uint16


def test_zarr_python_through_fsspec(address: str, alone: list[Sample]) -> None:
    """zarr.open of the address gives the local renderer's pixels at any index."""
    store: Any = zarr.open(f"{address}/v1/tio2-sem/zarr/0")
    for index in (11, 0):
        assert np.array_equal(store["image"][index], alone[index].image)
        assert np.array_equal(store["mask"][index], alone[index].mask)
    assert store["image"][123456].shape == (256, 256)


def test_curl_and_wget(address: str, tmp_path: pathlib.Path) -> None:
    """Curl reads a range and goes on where it was cut off; wget fetches the whole, and sees what is missing."""
    for tool in ("curl", "wget"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    url = f"{address}/v1/tio2-sem/shards/1/000000.tar"
    run = functools.partial(subprocess.run, check=True, timeout=120, capture_output=True)
    run(["wget", "-q", url, "-O", tmp_path / "wget.tar"])
    run(["curl", "-sf", "-r", "0-999", url, "-o", tmp_path / "curl.tar"])
    assert (tmp_path / "curl.tar").stat().st_size == 1000
    run(["curl", "-sf", "-C", "-", url, "-o", tmp_path / "curl.tar"])
    want = requests.get(url, timeout=120).content
    assert (tmp_path / "wget.tar").read_bytes() == (tmp_path / "curl.tar").read_bytes() == want
    with tarfile.open(tmp_path / "wget.tar") as tar:
        assert len(tar.getnames()) == 18
    listed = run(["curl", "-sfI", url], text=True).stdout.lower()
    assert f"content-length: {len(want)}" in listed


def test_stream_behind_an_address_is_the_local_stream(address: str) -> None:
    """Batches over HTTP have the pixels of the local engine's."""
    recipe = ns.Recipe.preset("tio2-sem")
    with (
        ns.StreamingDataset(f"{address}/v1/tio2-sem", seed=3, batch_size=3) as remote,
        ns.StreamingDataset(recipe, seed=3, batch_size=3, engine="local") as local,
    ):
        for one, other in itertools.islice(zip(remote, local, strict=False), 2):
            assert all((one[name] == other[name]).all() for name in ("image", "mask", "index", "next_index"))
        assert remote.state_dict() == local.state_dict()


def test_browser_shows_the_local_renderer_s_pixels(address: str, alone: list[Sample]) -> None:
    """Chromium decodes an image of the gateway to the very pixels of the local renderer."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if found is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        # In a container Chromium has no user namespace for its sandbox; it sees nothing but our own page.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page()
        # A page of the gateway's own origin: another one may show its pictures and not read them.
        page.goto(address)
        shown = page.evaluate(PIXELS, f"{address}/v1/tio2-sem/samples/0/3/image.png")
        browser.close()
    assert shown == alone[3].image[::16].ravel().tolist()


PIXELS = """async (url) => {
  const image = await createImageBitmap(await (await fetch(url)).blob());
  const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
  canvas.drawImage(image, 0, 0);
  const found = [];
  for (let row = 0; row < image.height; row += 16) {
    const line = canvas.getImageData(0, row, image.width, 1).data;
    for (let at = 0; at < line.length; at += 4) found.push(line[at]);
  }
  return found;
}"""

FAKE = """
import functools, sys
from nanostream.gateway.config import GatewayConfig
from nanostream.gateway.server import serve
from nanostream.testing import FakeRecipe, FakeSynth

if __name__ == "__main__":
    synth = functools.partial(FakeSynth, seconds=0.02)
    settings = GatewayConfig(recipes=(FakeRecipe(),), port=0, workers=1, synth=synth, shard_size=500)
    serve(settings, started=lambda url: print(f"Serving fake at {url}/ now", flush=True))
    print("Ended.")
"""


@pytest.fixture
def fake(tmp_path: pathlib.Path) -> str:
    """A script that serves slow fakes from one Ray worker."""
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    return str(script)


def test_server_killed_is_a_plain_error_and_a_retry_gives_the_same(fake: str, tmp_path: pathlib.Path) -> None:
    """Curl and Python's requests see that the shard is cut off; another server gives the whole, and the same start."""
    with process(sys.executable, fake) as (server, address):
        url = f"{address}/v1/fake/shards/0/000000.tar"
        words = [shutil.which("curl") or "curl", "-sSf", url, "-o", tmp_path / "half.tar"]
        curl = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        answer = requests.get(url, stream=True, timeout=60)
        content = answer.iter_content(512)
        half = b"".join(itertools.islice(content, 40))
        server.kill()
        rest: list[bytes] = []
        with pytest.raises(requests.exceptions.RequestException):
            rest.extend(content)
        half += b"".join(rest)
        said = curl.communicate(timeout=60)[1]
        assert curl.returncode == 18, said
        assert "transfer closed" in said
    assert (tmp_path / "half.tar").read_bytes()[: len(half)] == half[: (tmp_path / "half.tar").stat().st_size]
    with serving(GatewayConfig(recipes=(FakeRecipe(),), port=0, workers=0, synth=FakeSynth, shard_size=500)) as other:
        whole = requests.get(f"{other}/v1/fake/shards/0/000000.tar", timeout=60).content
    assert len(half) > 20_000
    assert whole.startswith(half)
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        assert len(tar.getnames()) == 1500


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_in_seconds(fake: str, number: signal.Signals) -> None:
    """With a shard half rendered and a stream open, a signal ends the server well, and nothing of it is left."""
    with process(sys.executable, fake) as (server, address):
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        assert any("RenderActor" in " ".join(one.cmdline()) for one in family)
        folder: pathlib.Path = server.folder  # type: ignore[attr-defined]
        assert {path.name.rpartition("-")[0] for path in folder.iterdir()} >= {"nanostream", "nanostream-gateway"}
        with (
            requests.get(f"{address}/v1/fake/shards/0/000000.tar", stream=True, timeout=60) as shard,
            requests.get(f"{address}/v1/fake/stream/0", stream=True, timeout=60) as stream,
        ):
            next(shard.iter_content(1000))
            next(stream.iter_content(1000))
            began = time.monotonic()
            server.send_signal(number)
            assert server.wait(timeout=30) == 0
            seconds = time.monotonic() - began
        # 10 s where nothing else runs, see benchmarks/gateway.py.
        assert seconds < 20
        # Ray's own helpers notice the end of their driver a moment later.
        _, alive = psutil.wait_procs(family, timeout=5)
        assert not alive
        assert not list(folder.iterdir())


@pytest.mark.usefixtures("own_ray")
def test_worker_killed_in_the_middle_of_a_shard() -> None:
    """A reader of a shard does not notice that a worker, and then the other one, is killed."""
    recipe = FakeRecipe()
    synth = functools.partial(FakeSynth, seconds=0.02)
    settings = GatewayConfig(recipes=(recipe,), port=0, workers=2, synth=synth, shard_size=200)
    with serving(settings) as address:
        answer = requests.get(f"{address}/v1/fake/shards/0/000000.tar", stream=True, timeout=120)
        got, killed = hashlib.sha256(), 0
        size = 0
        for data in answer.iter_content(4096):
            got.update(data)
            size += len(data)
            if size > 100_000 * (killed + 1) and killed < 2:
                os.kill(workers()[killed], signal.SIGKILL)
                killed += 1
        again = float(requests.get(f"{address}/live", timeout=60).json()["rendered"])
    assert killed == 2
    assert again >= 200
    with serving(GatewayConfig(recipes=(recipe,), port=0, workers=0, synth=FakeSynth, shard_size=200)) as other:
        want = requests.get(f"{other}/v1/fake/shards/0/000000.tar", timeout=60).content
    assert got.hexdigest() == hashlib.sha256(want).hexdigest()


def workers() -> list[int]:
    """Process numbers of this process's own render workers."""
    children = psutil.Process().children(recursive=True)
    return sorted(one.pid for one in children if "RenderActor" in " ".join(one.cmdline()))


@pytest.mark.usefixtures("own_ray")
def test_gateways_share_a_pool_on_a_cluster() -> None:
    """Two gateways that name one pool have the same workers, and each goes on when the other has ended."""
    settings = GatewayConfig(recipes=(FakeRecipe(),), port=0, workers=2, pool="shared", synth=FakeSynth, shard_size=20)
    # Those of the test before this one may not have gone yet.
    before = set(workers())
    with serving(settings) as one:
        with serving(settings) as other:
            answers = [requests.get(f"{url}/v1/fake/shards/0/000003.tar", timeout=120) for url in (one, other)]
            assert answers[0].content == answers[1].content
            assert len(set(workers()) - before) == 2
        assert requests.get(f"{one}/v1/fake/samples/0/8", timeout=120).status_code == 200


@pytest.mark.usefixtures("own_ray")
def test_sample_that_ends_its_workers_is_an_error_and_others_go_on() -> None:
    """An index that kills whoever renders it is answered with an error that names it; its neighbours are served."""
    synth = functools.partial(FakeSynth, fatal={7})
    with serving(GatewayConfig(recipes=(FakeRecipe(),), port=0, workers=2, synth=synth)) as address:
        bad = requests.get(f"{address}/v1/fake/samples/0/7", timeout=120)
        assert bad.status_code == 500
        assert "sample 7 of recipe 'fake'" in bad.json()["error"]
        assert requests.get(f"{address}/v1/fake/samples/0/8", timeout=120).status_code == 200
