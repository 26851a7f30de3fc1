"""Datasets over exported folders: the live stream's batches, in order, with workers and ranks."""

from __future__ import annotations

import pathlib
import pickle
import warnings
from typing import Any

import pytest
import torch

from nanostream.collate import collate
from nanostream.dataset import StreamingDataset
from nanostream.errors import NanostreamError, StateError, StoreError, StreamError
from nanostream.export import export
from nanostream.stored import ShardDataset, ZarrDataset
from nanostream.testing import FakeRecipe, FakeSynth

_RECIPE = FakeRecipe(height=16, width=24)
_START, _COUNT, _SEED = 3, 21, 5
_DATASETS: dict[str, Any] = {"webdataset": ShardDataset, "zarr": ZarrDataset}


@pytest.fixture(scope="module", params=sorted(_DATASETS))
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("sets") / request.param
    options: dict[str, Any] = {"count": _COUNT, "seed": _SEED, "start": _START, "shard_size": 4}
    export(_RECIPE, format=request.param, out=out, synth=FakeSynth, **options)
    return lambda **options: _DATASETS[request.param](out, **options)


def live(**options: Any) -> StreamingDataset:
    """The live stream from the set's first index to its last."""
    dataset = StreamingDataset(_RECIPE, seed=_SEED, length=_START + _COUNT, synth=FakeSynth, **options)
    state = dataset.state_dict()
    dataset.load_state_dict({**state, "next_index": _START})
    return dataset


def assert_same(got: dict[str, Any], expected: dict[str, Any]) -> None:
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert got[key].dtype == value.dtype
            assert torch.equal(got[key], value)
        else:
            assert got[key] == value


@pytest.mark.parametrize("batch_size", [1, 4, 5, 21, 100])
def test_batches_are_the_live_ones(stored: Any, batch_size: int) -> None:
    """Batches of any size hold the same tensors as a live stream of that length, and again each epoch."""
    dataset = stored(batch_size=batch_size)
    expected = list(live(batch_size=batch_size))
    for _ in range(2):
        got = list(dataset)
        assert len(got) == len(dataset) == len(expected)
        for batch, other in zip(got, expected, strict=True):
            assert_same(batch, other)


def test_shapes_and_types(stored: Any) -> None:
    """Image (B, 1, H, W) float32 in [0, 1], mask (B, H, W) int32, index (B,) int64."""
    batch = next(iter(stored(batch_size=6)))
    assert (batch["image"].shape, batch["image"].dtype) == ((6, 1, 16, 24), torch.float32)
    assert batch["image"].min() >= 0
    assert batch["image"].max() <= 1
    assert (batch["mask"].shape, batch["mask"].dtype) == ((6, 16, 24), torch.int32)
    assert (batch["index"].tolist(), batch["index"].dtype) == (list(range(3, 9)), torch.int64)


def test_single_samples_for_a_loader_that_batches(stored: Any) -> None:
    """With batch_size=None a DataLoader's own batches equal ours."""
    dataset = stored(batch_size=None)
    assert len(dataset) == _COUNT
    loader = torch.utils.data.DataLoader(dataset, batch_size=6)
    expected = torch.utils.data.DataLoader(live(batch_size=None), batch_size=6)
    with warnings.catch_warnings():
        # The live stream counts its length from index 0, and this part of it is shorter.
        warnings.simplefilter("ignore", UserWarning)
        for batch, other in zip(loader, expected, strict=True):
            assert_same(batch, other)


@pytest.mark.parametrize("used", [0, 1, 2, 4])
def test_place_goes_on_in_the_middle_of_a_shard(stored: Any, used: int) -> None:
    """A state after any batch goes on behind it, in other batches and another world, to the set's end."""
    dataset = stored(batch_size=4)
    batches = list(dataset)
    state = stored(batch_size=4).state_dict() if not used else dataset.state_dict(after=batches[used - 1])
    assert state["next_index"] == _START + 4 * used
    seen = []
    for rank in range(2):
        other = stored(batch_size=3, rank=rank, world_size=2)
        other.load_state_dict(state)
        seen += [index for batch in other for index in batch["index"].tolist()]
    assert sorted(seen) == list(range(_START + 4 * used, _START + _COUNT))


def test_states_fit_the_live_stream_and_back(stored: Any) -> None:
    """A place of the stored set is one of the live stream, and the other way round; both go on alike."""
    dataset, stream = stored(batch_size=4), live(batch_size=4)
    before = next(iter(dataset))
    state = dataset.state_dict(after=before)
    assert state == dataset.state_dict()
    assert_same(next(iter(stream)), before)
    assert {**stream.state_dict(after=before)} == state
    stream.load_state_dict(state)
    dataset.load_state_dict(stream.state_dict())
    assert_same(next(iter(dataset)), next(iter(stream)))


def test_place_with_loader_workers(stored: Any) -> None:
    """With two DataLoader workers the place behind a batch is exact, and both go on from a loaded one."""
    dataset = stored(batch_size=4)
    settings: dict[str, Any] = {"batch_size": None, "num_workers": 2, "multiprocessing_context": "spawn"}
    loader = torch.utils.data.DataLoader(dataset, **settings, timeout=120)
    first = next(iter(loader))
    again = stored(batch_size=2)
    again.load_state_dict(dataset.state_dict(after=first))
    loader = torch.utils.data.DataLoader(again, **settings, timeout=120)
    assert [index for batch in loader for index in batch["index"].tolist()] == list(range(_START + 4, _START + _COUNT))


def test_iterating_begins_again(stored: Any) -> None:
    """A loaded place holds for one iteration; the next one begins at the set's start, as restart() does."""
    dataset = stored(batch_size=7)
    dataset.load_state_dict(dataset.state_dict(after=next(iter(dataset))))
    assert [len(list(dataset)) for _ in range(2)] == [2, 3]
    dataset.load_state_dict(dataset.state_dict(after=next(iter(dataset))))
    dataset.restart()
    assert next(iter(dataset))["index"][0] == _START


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": "other"}, "expected a state of recipe"),
        ({"seed": 6}, "expected a state of seed"),
        ({"next_index": 0}, "expected a place from 3 to 24"),
        ({"next_index": 25}, "expected a place up to"),
        ({"version": 9}, "of version 1, got 9"),
    ],
)
def test_state_of_another_set_is_refused(stored: Any, change: dict[str, Any], message: str) -> None:
    """A state of another recipe, seed or range is a StateError."""
    dataset = stored()
    with pytest.raises(StateError, match=message):
        dataset.load_state_dict({**dataset.state_dict(), **change})


def test_state_of_another_build_warns(stored: Any) -> None:
    """A state of another build warns, and with strict=True is a StateError."""
    dataset = stored()
    state = {**dataset.state_dict(), "build": "other"}
    with pytest.warns(UserWarning, match="expected the state's build other"):
        dataset.load_state_dict(state)
    with pytest.raises(StateError, match="expected the state's build other"):
        dataset.load_state_dict(state, strict=True)


def test_particles_come_on_request(stored: Any) -> None:
    """With particles=True each sample's table comes along, as the live samples have it."""
    for size in (4, None):
        batch = next(iter(stored(batch_size=size, particles=True)))
        assert_same(batch, next(iter(live(batch_size=size, particles=True))))


def test_transform_sees_each_batch(stored: Any) -> None:
    """The transform runs on every batch, where the dataset is iterated."""
    got = [batch["double"] for batch in stored(batch_size=4, transform=_doubled)]
    assert torch.cat(got).tolist() == [2 * index for index in range(_START, _START + _COUNT)]


def _doubled(batch: dict[str, Any]) -> dict[str, Any]:
    return {**batch, "double": 2 * batch["index"]}


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_ranks_share_all_samples(stored: Any, world_size: int) -> None:
    """Ranks get the batches of the live stream's plan: as many each, and every sample once in all."""
    parts = [list(stored(batch_size=2, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert len({len(part) for part in parts}) == 1
    for rank, part in enumerate(parts):
        for batch, other in zip(part, live(batch_size=2, rank=rank, world_size=world_size), strict=True):
            assert_same(batch, other)
    seen = sorted(index for part in parts for batch in part for index in batch["index"].tolist())
    assert seen == list(range(_START, _START + _COUNT))


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_loader_workers_change_nothing(stored: Any, method: str) -> None:
    """Two DataLoader workers, spawned or forked, give the batches of none, in order."""
    dataset = stored(batch_size=4)
    alone = list(dataset)
    with warnings.catch_warnings():
        # Python 3.12 warns of any fork beside threads; that it works is what is tried here.
        warnings.simplefilter("ignore", DeprecationWarning)
        loader = torch.utils.data.DataLoader(
            dataset, batch_size=None, num_workers=2, multiprocessing_context=method, timeout=120
        )
        got = list(loader)
    assert len(got) == len(alone)
    for one, other in zip(got, alone, strict=True):
        assert_same(one, other)


def test_pickled_dataset_reads_on(stored: Any) -> None:
    """A pickled dataset keeps its rank and opens its folder anew."""
    again = pickle.loads(pickle.dumps(stored(batch_size=4, rank=1, world_size=2)))  # noqa: S301 our own bytes
    assert next(iter(again))["index"].tolist() == [7, 8, 9, 10]
    assert again.provenance.seed == _SEED


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 0}, {"rank": 1}, {"world_size": 2}, {"rank": 2, "world_size": 2}, {"rank": -1, "world_size": 2}],
)
def test_sizes_that_cannot_be_are_refused(stored: Any, options: dict[str, Any]) -> None:
    """A batch size below 1 or a rank outside its world is a StreamError when the dataset is made."""
    with pytest.raises(StreamError, match="expected"):
        stored(**options)


def test_folders_are_told_apart(stored: Any, tmp_path: pathlib.Path) -> None:
    """A dataset on a folder of the other format, or on none, is a StoreError."""
    folder = pathlib.Path(stored().folder)
    other = ZarrDataset if isinstance(stored(), ShardDataset) else ShardDataset
    for wrong in (folder, tmp_path, tmp_path / "none"):
        with pytest.raises(StoreError, match="expected"):
            other(wrong)


def test_batches_need_samples_of_one_size() -> None:
    """Collate refuses no samples and pictures of several sizes."""
    small, large = (FakeSynth(FakeRecipe(height=size)).render(seed=0, index=0) for size in (8, 9))
    with pytest.raises(NanostreamError, match="at least one sample"):
        collate([])
    with pytest.raises(NanostreamError, match="pictures of one size"):
        collate([small, large])
