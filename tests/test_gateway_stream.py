"""The engine behind an address: the promises of the other engines, whatever becomes of the connection."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import pickle
import socket
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from nanostream.dataset import StreamingDataset
from nanostream.errors import RenderError, StateError, StoreError, StreamError
from nanostream.formats import frames
from nanostream.formats.encoded import Encoded
from nanostream.formats.zarr import encode
from nanostream.gateway.config import GatewayConfig
from nanostream.gateway.server import serving
from nanostream.stream.http import HttpEngine, _Wanted
from nanostream.stream.remote import RemoteRecipe
from nanostream.testing import FakeRecipe, FakeSynth, assert_each_once, assert_in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nanostream.sample import Sample

RECIPE = FakeRecipe()
TOKEN = "a-token-of-the-tests-own"  # noqa: S105 - it opens nothing


def config(**more: Any) -> GatewayConfig:
    return GatewayConfig(**{"recipes": (RECIPE,), "port": 0, "workers": 0, "synth": FakeSynth, "token": TOKEN, **more})


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(config()) as address:
        yield f"{address}/v1/fake"


def stream(recipe: Any, **settings: Any) -> StreamingDataset:
    return StreamingDataset(recipe, **{"batch_size": 4, "token": TOKEN, **settings})


def local(**settings: Any) -> StreamingDataset:
    return StreamingDataset(RECIPE, **{"batch_size": 4, "engine": "local", "synth": FakeSynth, **settings})


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) if isinstance(one[name], torch.Tensor) else one[name] == other[name]
        for name in one
    )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"seed": 7, "particles": True, "receipts": True},
        {"batch_size": None},
        {"batch_size": 3, "rank": 1, "world_size": 3},
        {"batch_size": 3, "rank": 0, "world_size": 2, "length": 23},
        {"batch_size": 5, "length": 23},
    ],
)
def test_batches_are_those_of_the_local_engine(url: str, settings: dict[str, Any]) -> None:
    """Batches, their order, metadata, receipts and states equal the local engine's, for every share of the plan."""
    with stream(url, **settings) as remote, local(**settings) as here:
        got, want = (list(itertools.islice(one, 12)) for one in (remote, here))
        assert len(got) == len(want) > 1
        assert all(map(same, got, want))
        assert remote.state_dict() == here.state_dict()


def test_goes_on_from_any_engine_s_state(url: str) -> None:
    """A state of the local engine is gone on with behind the address, and the other way round."""
    with local() as here, stream(url) as remote:
        batches = list(itertools.islice(here, 5))
        remote.load_state_dict(here.state_dict(after=batches[2]))
        on = list(itertools.islice(remote, 2))
        assert_in_order(on, start=12)
        here.load_state_dict(remote.state_dict(after=on[0]))
        assert_in_order(itertools.islice(here, 2), start=16)
        with pytest.raises(StateError, match="seed"):
            remote.load_state_dict({**here.state_dict(), "seed": 3})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("context", ["spawn", "fork"])
def test_dataloader_workers_share_the_stream(url: str, context: str) -> None:
    """Two DataLoader workers, spawned or forked, give the batches in order, and a place that is exact."""
    with stream(url, batch_size=3) as dataset:
        loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context=context)
        batches = list(itertools.islice(loader, 6))
        assert_in_order(batches)
        assert dataset.state_dict(after=batches[3])["next_index"] == 12
    with stream(url, batch_size=None, length=11) as dataset:
        loader = DataLoader(dataset, batch_size=2, num_workers=2, multiprocessing_context=context)
        assert_each_once(list(loader), indices=range(11))


def test_single_samples_by_index(url: str) -> None:
    """dataset[i] is the sample of that index."""
    with stream(url) as remote, local() as here:
        assert same(remote[5], here[5])


def test_stream_goes_on_when_its_gateway_is_gone_for_a_while() -> None:
    """A gateway that ends and comes back costs no sample and repeats none."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = config(port=port, synth=functools.partial(FakeSynth, seconds=0.01))
    got: list[dict[str, Any]] = []
    half, ended = threading.Event(), threading.Event()

    def read() -> None:
        with stream(f"http://127.0.0.1:{port}/v1/fake") as dataset:
            for batch in itertools.islice(dataset, 100):
                got.append(batch)
                if len(got) == 30:
                    half.set()
        ended.set()

    with serving(settings):
        reader = threading.Thread(target=read)
        reader.start()
        assert half.wait(60)
    assert not ended.is_set()
    with serving(settings):
        reader.join(60)
    assert ended.is_set()
    assert assert_in_order(got) == 400


def test_gateway_that_stays_away_is_an_error() -> None:
    """Where nobody answers within timeout_seconds, StreamError names the address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    expected = rf"127\.0\.0\.1:{port}/v1/fake to answer within 0\.5 s"
    with (
        stream(f"http://127.0.0.1:{port}/v1/fake", timeout_seconds=0.5) as dataset,
        pytest.raises(StreamError, match=expected),
    ):
        next(iter(dataset))


def test_gateway_of_another_build_is_refused_in_midstream() -> None:
    """A gateway that comes back with another build ends the stream with an error."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    slow = functools.partial(FakeSynth, seconds=0.01)
    dataset = stream(f"http://127.0.0.1:{port}/v1/fake")
    with dataset, contextlib.ExitStack() as stack:
        stack.enter_context(serving(config(port=port, synth=slow)))
        batches = iter(dataset)
        next(batches)
        stack.close()
        other = config(port=port, synth=functools.partial(FakeSynth, backend="other"))
        with serving(other), pytest.raises(StreamError, match="keep its build"):
            list(itertools.islice(batches, 200))


def test_broken_index_raises_when_its_turn_comes() -> None:
    """An index that cannot be rendered raises RenderError after all samples before it."""
    settings = config(synth=functools.partial(FakeSynth, broken={9}))
    with serving(settings) as address, stream(f"{address}/v1/fake", batch_size=None) as dataset:
        got = []
        with pytest.raises(RenderError, match="sample 9 of recipe 'fake'"):
            got.extend(int(sample["index"]) for sample in dataset)
        assert got == list(range(9))


class Noisy(FakeSynth):
    """A renderer whose pictures do not compress."""

    def render(self, *, seed: int, index: int) -> Sample:
        """The sample, with noise for its picture."""
        sample = super().render(seed=seed, index=index)
        sample.image[:] = np.random.default_rng(index).integers(0, 256, sample.image.shape, np.uint8)
        return sample


def test_reader_that_stops_stops_the_rendering() -> None:
    """A stream whose reader asks for no more is rendered only as far ahead as limits and connection hold."""
    big = FakeRecipe(height=512, width=512)
    with (
        serving(config(recipes=(big,), synth=Noisy)) as address,
        stream(f"{address}/v1/fake", batch_size=1) as dataset,
    ):
        batches = iter(dataset)
        next(batches)
        before = -1
        while (now := remote_rendered(address)) != before:
            before = now
            threading.Event().wait(1.0)
        # 256 samples ahead, and what the system's buffers take of 16 MB at most.
        assert before < 256 + 64
        assert assert_in_order(itertools.islice(batches, 400), start=1) == 401


def remote_rendered(address: str) -> int:
    import requests

    return requests.get(f"{address}/live", headers={"authorization": f"Bearer {TOKEN}"}, timeout=60).json()["rendered"]


def test_wrong_token_and_wrong_recipe_say_so(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway's own sentence comes through at once; the token may come from the environment."""
    monkeypatch.delenv("NANOSTREAM_TOKEN", raising=False)
    for wrong in ("another-token-than-theirs", None):
        with pytest.raises(StreamError, match="401"):
            next(iter(stream(url, token=wrong)))
    with pytest.raises(StreamError, match="one of the recipes fake"):
        next(iter(stream(url.replace("fake", "fame"))))
    monkeypatch.setenv("NANOSTREAM_TOKEN", TOKEN)
    assert next(iter(stream(url, token=None)))["index"][0] == 0
    for address in ("ftp://somewhere/v1/fake", "http:///v1/fake", "tio2-sem", "http://somewhere/v1/fake?x=1"):
        with pytest.raises(StreamError, match="address of a recipe"):
            stream(address)
    with pytest.raises(StreamError, match="its URL"):
        HttpEngine(RECIPE)
    with pytest.raises(StreamError, match="one worker"):
        stream(url, workers=2)


def test_token_goes_into_no_file(url: str) -> None:
    """A pickled dataset does not hold the token."""
    assert TOKEN.encode() not in pickle.dumps(stream(url))
    assert RemoteRecipe(url, token=TOKEN).hash == RECIPE.hash


@pytest.mark.parametrize(
    ("leases", "pattern"),
    [
        ([range(5, 13), range(13, 21)], {"start": 5, "stop": 21}),
        ([range(8), range(16, 24), range(32, 40)], {"start": 0, "batch": 8, "stride": 16}),
        ([range(3, 60, 4)], {"start": 3, "batch": 1, "stride": 4}),
        (map(range, range(0, 80000, 8), range(8, 80008, 8)), {"start": 0}),
    ],
)
def test_plan_becomes_one_periodic_stream(leases: Any, pattern: dict[str, int]) -> None:
    """What is asked for covers the plan's next indices in their order."""
    assert _Wanted(leases).pattern() == pattern


def reader(data: bytes) -> Callable[[int], bytes]:
    return io.BytesIO(data).read


def test_frames_give_the_sample_back() -> None:
    """A frame's samples have the digests of what was sent, and its other words are kept."""
    ones = [FakeSynth(RECIPE).render(seed=1, index=index) for index in range(3)]
    data = frames.frame([Encoded.of(one, encode) for one in ones], next=3)
    told = frames.read_frame(reader(data))
    assert told is not None
    assert [frames.sample_of(one).digest() for one in told["samples"]] == [one.digest() for one in ones]
    assert told["next"] == 3
    assert frames.read_frame(reader(b"")) is None


def test_damaged_frames_are_refused() -> None:
    """Frames that are cut off, too long, flipped in a byte or no frames raise StoreError or give the same sample."""
    one = FakeSynth(RECIPE).render(seed=1, index=2)
    data = frames.frame([Encoded.of(one, encode)], next=3)
    for cut in (3, 10, len(data) - 1):
        with pytest.raises(StoreError, match="damaged"):
            frames.read_frame(reader(data[:cut]))
    for nonsense in (b"\xff\xff\xff\xff", b"\0\0\0\1\xc1", b"\0\0\0\1\x80", b"\0\0\0\1\x01"):
        with pytest.raises(StoreError, match="damaged"):
            frames.read_frame(reader(nonsense))
    refused = 0
    for at in range(4, len(data)):
        flipped = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
        try:
            told = frames.read_frame(reader(flipped))
            assert told is not None
            got = [frames.sample_of(entry) for entry in told["samples"]]
        except StoreError:
            refused += 1
            continue
        pictures = [sample.image.tobytes() + sample.mask.tobytes() for sample in got]
        assert pictures in ([], [one.image.tobytes() + one.mask.tobytes()])
    assert refused > len(data) // 2
