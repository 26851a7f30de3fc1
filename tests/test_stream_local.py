"""The engine in this process, and the counters of a stream."""

from __future__ import annotations

import functools
import itertools
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from nanostream.errors import BackendError, RenderError, StreamError
from nanostream.stream.actor import RecipeText, RenderActor
from nanostream.stream.choose import choose_engine, open_engine
from nanostream.stream.engine import import_path
from nanostream.stream.local import LocalEngine
from nanostream.telemetry import metrics, serve_metrics
from nanostream.testing import FakeRecipe, FakeSynth, assert_each_once, assert_in_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nanostream.sample import Sample

FAKE = "nanostream.testing:FakeSynth"
RECIPE = FakeRecipe()


def test_samples_come_in_the_order_of_the_leases() -> None:
    """Samples come in the leases' order, and are those of the renderer alone."""
    want = [5, 6, 7, 0, 2, 4]
    with LocalEngine(RECIPE, seed=3, synth=FAKE) as engine:
        got = list(engine.samples([range(5, 8), range(0, 6, 2)]))
        assert engine.sample(9).index == 9
    assert [sample.index for sample in got] == want
    alone = FakeSynth(RECIPE)
    assert [s.digest() for s in got] == [alone.render(seed=3, index=index).digest() for index in want]


def test_endless_leases_are_taken_as_needed() -> None:
    """An endless iterator of leases is read no further than samples are asked for."""
    taken = []

    def endless() -> itertools.count[int]:
        for number in itertools.count():
            taken.append(number)
            yield range(number, number + 1)

    with LocalEngine(RECIPE, synth=FAKE) as engine:
        assert [s.index for s in itertools.islice(engine.samples(endless()), 3)] == [0, 1, 2]
    assert taken == [0, 1, 2]


def test_failed_sample_names_recipe_seed_and_index() -> None:
    """A sample that fails raises RenderError with recipe, seed and index."""
    with (
        LocalEngine(RECIPE, seed=4, synth=functools.partial(FakeSynth, broken={1})) as engine,
        pytest.raises(RenderError, match=r"sample 1 of recipe 'fake'.*seed 4.*broken on purpose"),
    ):
        list(engine.samples([range(3)]))


def no_backend(recipe: FakeRecipe) -> FakeSynth:
    msg = "expected a backend, got none"
    raise BackendError(msg)


class CardSynth(FakeSynth):
    """A renderer with several samples in flight, all of which are lost where one fails."""

    def __init__(self, recipe: FakeRecipe, **settings: Any) -> None:
        super().__init__(recipe, **{"backend": "cuda_fake", **settings})
        self.asked: list[int] = []

    def render_many(self, *, seed: int, indices: Sequence[int]) -> Iterator[Sample]:
        """All of them before the first is handed on."""
        self.asked.append(len(indices))
        yield from [self.render(seed=seed, index=index) for index in indices]


@pytest.mark.parametrize("backend", ["cuda_fake", "llvm_fake"])
def test_a_graphics_card_gets_a_whole_lease(backend: str) -> None:
    """Where a card renders, a lease is rendered at once, by both engines' workers, and a failure comes in its turn."""
    made: list[CardSynth] = []

    def synth(recipe: FakeRecipe) -> CardSynth:
        made.append(CardSynth(recipe, backend=backend, broken={9}))
        return made[-1]

    got: list[int] = []
    with open_engine(RECIPE, synth=synth) as engine, pytest.raises(RenderError, match="sample 9"):
        got.extend(sample.index for sample in engine.samples([range(4), range(4, 8), range(8, 12)]))
    assert got == list(range(9))
    assert made[0].asked == ([4, 4, 4] if backend == "cuda_fake" else [])

    actor = RenderActor(RecipeText(import_path(FakeRecipe), RECIPE.dump(), RECIPE.hash), "nanostream.testing:FakeSynth")
    actor._synth = made[0]
    reply = actor.render("flight", 0, (8, 12, 1))
    assert [sample.index for sample in reply.samples] == [8]
    assert reply.failure is not None
    assert "broken on purpose" in reply.failure.message
    assert [sample.index for sample in actor.render("flight", 0, (4, 8, 1)).samples] == [4, 5, 6, 7]


def test_errors_of_our_own_pass() -> None:
    """An error that already says what to do comes through as it is."""
    with LocalEngine(RECIPE, synth=no_backend) as engine, pytest.raises(BackendError, match="a backend"):
        engine.sample(0)


def test_unknown_renderers_are_refused() -> None:
    """An import path that leads nowhere raises StreamError with that path."""
    for path in ("nanostream.nowhere:Synth", "nanostream.testing:Nothing", "nanostream.testing"):
        with LocalEngine(RECIPE, synth=path) as engine, pytest.raises(StreamError, match=path):
            engine.sample(0)


def test_engine_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` is local for one worker without a cluster, and Ray where one is named or more are asked for."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert choose_engine("auto") == "local"
    assert choose_engine("auto", workers=2) == "ray"
    assert choose_engine("auto", address="10.0.0.1:6379") == "ray"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert choose_engine("auto") == "ray"
    assert choose_engine("local") == "local"
    for bad in ({"engine": "cluster"}, {"engine": "local", "workers": 2}, {"engine": "ray", "workers": 0}):
        with pytest.raises(StreamError, match="expected"):
            choose_engine(**bad)


def test_counters_and_metrics_count_the_same() -> None:
    """Samples rendered and delivered are counted for the live line and for Prometheus alike."""
    before = metrics().registry.get_sample_value("nanostream_samples_delivered_total") or 0
    with open_engine(RECIPE, synth=functools.partial(FakeSynth, seconds=0.005)) as engine:
        assert engine.counters.stats().samples_per_second == 0
        list(engine.samples([range(10)]))
        stats = engine.counters.stats()
    assert (stats.samples_rendered, stats.samples_delivered) == (10, 10)
    assert stats.render_seconds >= 0.05
    assert 0.5 < stats.starved_share <= 1
    assert metrics().registry.get_sample_value("nanostream_samples_delivered_total") == before + 10


def test_metrics_have_units_and_help() -> None:
    """Every metric begins with `nanostream_`, has help text, and is not in the global registry."""
    from prometheus_client import REGISTRY

    families = list(metrics().registry.collect())
    assert len(families) >= 10
    assert all(family.name.startswith("nanostream_") and family.documentation for family in families)
    assert not any(family.name.startswith("nanostream_") for family in REGISTRY.collect())


def test_metrics_are_served_on_this_machine_alone() -> None:
    """The page holds every metric, binds to 127.0.0.1 unless told, and a taken port is an error."""
    with serve_metrics(0) as page:
        assert page.url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(page.url, timeout=10) as answer:  # noqa: S310 - our own page, over HTTP
            text = answer.read().decode()
        for name in ("samples_rendered_total", "rendered_bytes_total", "starved_ratio", "workers_wanted"):
            assert f"nanostream_{name} " in text
        port = int(page.url.split(":")[2].split("/")[0])
        with pytest.raises(StreamError, match=f"free port for the metrics, got 127.0.0.1:{port}"):
            serve_metrics(port)


def test_assertions_for_users_tests() -> None:
    """The assertions pass what is in order and name what is not."""
    assert assert_in_order([{"index": [0, 1]}, {"index": [2]}]) == 3
    with pytest.raises(AssertionError, match="expected index 2 in batch 1, got 3"):
        assert_in_order([{"index": [0, 1]}, {"index": [3]}])
    assert_each_once([{"index": [1, 0]}], indices=range(2))
    with pytest.raises(AssertionError, match=r"\[1\] missing, \[0\] twice"):
        assert_each_once([{"index": [0, 0]}], indices=range(2))
