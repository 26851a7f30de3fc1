"""StreamingDataset with the local engine: batches, order, places, epochs, DataLoader workers."""

from __future__ import annotations

import functools
import itertools
import json
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from nanostream.dataset import StreamingDataset
from nanostream.errors import RenderError, SampleIndexError, StateError, StreamError
from nanostream.testing import FakeRecipe, FakeSynth, assert_each_once, assert_in_order

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")
FAKE = "nanostream.testing:FakeSynth"
RECIPE = FakeRecipe(height=6, width=5)


def stream(**settings: Any) -> StreamingDataset:
    return StreamingDataset(RECIPE, **{"synth": FAKE, "batch_size": 4, "engine": "local", **settings})


def first(batches: Any, count: int) -> list[dict[str, Any]]:
    return list(itertools.islice(batches, count))


def indices(batches: list[dict[str, Any]]) -> list[int]:
    return torch.cat([batch["index"].reshape(-1) for batch in batches]).tolist()


def test_batch_is_tensors_of_the_stated_kind() -> None:
    """A batch holds image, mask, index and place with the stated shapes and types, and can be pinned."""
    with stream(seed=3, particles=True) as dataset:
        batch = next(iter(dataset))
        image, mask, index = batch["image"], batch["mask"], batch["index"]
        assert (image.shape, image.dtype) == ((4, 1, 6, 5), torch.float32)
        assert (mask.shape, mask.dtype) == ((4, 6, 5), torch.int32)
        assert (index.tolist(), index.dtype) == ([0, 1, 2, 3], torch.int64)
        assert batch["next_index"].tolist() == [4] * 4
        assert len(batch["particles"]) == 4
        sample = FakeSynth(RECIPE).render(seed=3, index=2)
        assert torch.equal(image[2, 0], torch.from_numpy(sample.image).float() / 255)
        assert torch.equal(mask[2], torch.from_numpy(sample.mask).int())
        assert batch["particles"][2] == sample.meta["particles"]


def test_single_samples_and_random_access() -> None:
    """batch_size=None gives single samples, and ds[i] the same sample at any time."""
    with stream(batch_size=None) as dataset:
        samples = first(dataset, 3)
        assert [sample["index"].item() for sample in samples] == [0, 1, 2]
        assert samples[0]["image"].shape == (1, 6, 5)
        assert torch.equal(dataset[2]["image"], samples[2]["image"])
        assert dataset.state_dict()["next_index"] == 3
        with pytest.raises(SampleIndexError, match="from 0"):
            dataset[-1]


def test_transform_is_called_on_each_batch() -> None:
    """The transform gets the batch and decides what comes out."""
    with stream(transform=functools.partial(dict, extra=1)) as dataset:
        batch = next(iter(dataset))
        assert batch["extra"] == 1
        assert dataset.state_dict(after=batch)["next_index"] == 4
    with stream(transform=dict.keys) as dataset, pytest.raises(StateError, match="next_index"):
        dataset.state_dict(after=next(iter(dataset)))


def test_iterating_again_goes_on() -> None:
    """Epochs of an endless stream repeat nothing, restart() goes back, and a place is a few numbers."""
    with stream() as dataset:
        assert_in_order(first(dataset, 3) + first(dataset, 2))
        assert dataset.state_dict()["next_index"] == 20
        dataset.restart()
        assert dataset.state_dict()["next_index"] == 0
        assert_in_order(first(dataset, 2))
        assert len(json.dumps(dataset.state_dict())) < 400


def test_two_iterators_at_once_share_no_index() -> None:
    """A second iterator begins behind the furthest batch of the first."""
    with stream() as dataset:
        one = iter(dataset)
        batches = first(one, 2)
        two = iter(dataset)
        batches += first(two, 1)
        assert_in_order(batches)
        assert dataset.state_dict()["next_index"] == 12


def test_finite_stream_repeats() -> None:
    """length=N gives the same N samples each time, has a length, and is even over ranks."""
    with stream(length=10) as dataset:
        assert len(dataset) == 3
        for _ in range(2):
            batches = list(dataset)
            assert assert_in_order(batches) == 10
            assert [len(batch["index"]) for batch in batches] == [4, 4, 2]
        first(dataset, 1)
        assert_in_order(list(dataset))
        place = dataset.state_dict(after=batches[0])
        dataset.load_state_dict(place)
        assert_in_order(list(dataset), start=4)
        assert_in_order(list(dataset))
        dataset.load_state_dict(dataset.state_dict(after=batches[-1]))
        assert_in_order(list(dataset))
        assert dataset
    with stream() as endless, pytest.raises(TypeError, match="endless"):
        len(endless)
    with stream(length=9, batch_size=None) as single:
        assert len(single) == len(list(single)) == 9


@settings(max_examples=25)
@given(
    cuts=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=3),
    lease=st.integers(1, 9),
)
def test_any_world_may_follow_a_place(cuts: list[tuple[int, int, int]], lease: int) -> None:
    """After state_dict(after=batch) any number of ranks and any batch size give the sequence on."""
    got: list[int] = []
    state = None
    for world_size, batch_size, count in cuts:
        ranks, places = [], []
        for rank in range(world_size):
            world = {"rank": rank, "world_size": world_size, "batch_size": batch_size, "lease": lease}
            with stream(**world) as dataset:
                if state is not None:
                    dataset.load_state_dict(state)
                ranks.append(first(dataset, count))
                places.append(dataset.state_dict(after=ranks[-1][-1]))
        assert all(place == places[0] for place in places)
        state = places[0]
        got += [i for step in zip(*ranks, strict=True) for batch in step for i in batch["index"].tolist()]
    assert got == list(range(len(got)))


def test_rank_is_that_of_torch_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank and world size come from torch.distributed when the dataset is iterated or pickled."""
    dataset = stream()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    assert indices(first(dataset, 2)) == [4, 5, 6, 7, 16, 17, 18, 19]
    dataset.restart()
    packed = pickle.dumps(dataset)
    monkeypatch.undo()
    unpacked = pickle.loads(packed)  # noqa: S301 - made two lines above
    assert indices(first(unpacked, 1)) == [4, 5, 6, 7]


def test_copy_keeps_its_own_place() -> None:
    """A pickled dataset goes on from the place it was pickled at, apart from the original."""
    with stream() as dataset:
        first(dataset, 2)
        copy = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - made right here
        assert indices(first(copy, 1)) == indices(first(dataset, 1)) == [8, 9, 10, 11]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize(("num_workers", "context"), [(0, None), (2, "fork"), (2, "spawn"), (2, "forkserver")])
def test_place_is_exact_with_workers_and_prefetch(num_workers: int, context: str | None) -> None:
    """With any DataLoader workers batches come in global order, and state_dict(after=batch) is exact."""
    options = {"batch_size": None, "num_workers": num_workers, "multiprocessing_context": context}
    with stream() as dataset:
        batches = first(DataLoader(dataset, **options), 5)
        assert_in_order(batches)
        state = dataset.state_dict(after=batches[2])
    assert state["next_index"] == 12
    assert state["backend"] == "fake"
    with stream(batch_size=3, rank=1, world_size=2) as other:
        other.load_state_dict(state)
        assert indices(first(other, 2)) == [15, 16, 17, 21, 22, 23]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize(("context", "persistent"), [("fork", False), ("fork", True), ("spawn", True)])
def test_epochs_with_workers_repeat_nothing(context: str, persistent: bool) -> None:  # noqa: FBT001 - a parameter
    """Each epoch of a loader with workers goes on behind what any worker has prepared, whatever its seed."""
    dataset = stream()
    loader = DataLoader(
        dataset, batch_size=None, num_workers=2, multiprocessing_context=context, persistent_workers=persistent
    )
    epochs = []
    for _ in range(3):
        torch.manual_seed(0)
        epochs.append(first(loader, 3))
        begin = epochs[-1][0]["index"][0].item()
        assert_in_order(epochs[-1], start=begin)
    flat = indices([batch for epoch in epochs for batch in epoch])
    assert len(set(flat)) == len(flat)
    assert flat == sorted(flat)
    dataset.load_state_dict(dataset.state_dict(after=epochs[0][1]))
    assert_in_order(first(loader, 3), start=8)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_finite_stream_with_workers_is_whole_each_time() -> None:
    """A finite stream through persistent workers gives each index once, in order, in each epoch."""
    options = {"num_workers": 2, "multiprocessing_context": "fork", "persistent_workers": True}
    loader = DataLoader(stream(length=22), batch_size=None, **options)
    assert len(loader) == 6
    for _ in range(3):
        assert assert_in_order(list(loader)) == 22


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_single_samples_through_workers_come_once() -> None:
    """Single samples through several workers come each once, and have no place."""
    dataset = stream(batch_size=None, length=20)
    one = list(DataLoader(dataset, batch_size=4))
    assert_in_order(one)
    assert dataset.state_dict(after=one[1])["next_index"] == 8
    batches = list(DataLoader(dataset, batch_size=4, num_workers=2, multiprocessing_context="fork"))
    assert_each_once(batches, indices=range(20))
    with pytest.raises(StateError, match="several DataLoader workers"):
        dataset.state_dict(after=batches[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_error_in_a_worker_keeps_its_class() -> None:
    """A sample that fails in a DataLoader worker raises RenderError in the training loop."""
    dataset = stream(synth=functools.partial(FakeSynth, broken={9}))
    with pytest.raises(RenderError, match="sample 9"):
        first(DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="fork"), 4)


def test_states_of_other_streams_are_refused() -> None:
    """Another recipe or seed raises StateError, and so does what is no state."""
    with stream(seed=1) as dataset:
        state = dataset.state_dict()
        assert state["build"] is None
        for other in (stream(seed=2), StreamingDataset(FakeRecipe(), seed=1, synth=FAKE)):
            with pytest.raises(StateError, match="expected a state of"):
                other.load_state_dict(state)
        for bad in ({}, None, {**state, "next_index": -5}):
            with pytest.raises(StateError, match="state"):
                dataset.load_state_dict(bad)
        with pytest.raises(StateError, match="length"):
            stream(seed=1, length=5).load_state_dict({**state, "next_index": 6})


def test_state_of_another_build_warns_or_is_refused() -> None:
    """Another build warns before anything is rendered, and raises StateError under strict."""
    with stream() as dataset:
        first(dataset, 1)
        state = dataset.state_dict()
    other = functools.partial(FakeSynth, backend="other")
    with stream(synth=other) as dataset:
        dataset.load_state_dict(state)
        with pytest.warns(UserWarning, match="expected the state's build"):
            assert indices(first(dataset, 1)) == [4, 5, 6, 7]
    with stream(synth=other) as dataset:
        dataset.load_state_dict(state, strict=True)
        with pytest.raises(StateError, match="expected the state's build"):
            next(iter(dataset))


def test_bad_settings_are_refused_at_once() -> None:
    """Senseless settings raise at construction, with what was expected."""
    for bad in (
        {"batch_size": 0},
        {"length": 0},
        {"lease": 0},
        {"rank": 1},
        {"rank": 2, "world_size": 2},
        {"engine": "cluster"},
        {"workers": 0},
        {"seed": -1},
    ):
        with pytest.raises((StreamError, SampleIndexError), match="expected"):
            stream(**bad)


def test_closed_dataset_is_refused() -> None:
    """A closed dataset raises StreamError, and closing again does nothing."""
    dataset = stream()
    dataset.close()
    dataset.close()
    with pytest.raises(StreamError, match="closed"):
        iter(dataset)


def test_stats_count_what_was_handed_out() -> None:
    """The counters for a live line count samples and time."""
    with stream() as dataset:
        assert dataset.stats.samples_rendered == 0
        first(dataset, 2)
        assert dataset.stats.samples_delivered == 8
        assert 0 <= dataset.stats.starved_share <= 1
