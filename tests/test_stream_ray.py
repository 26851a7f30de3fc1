"""The Ray engine: order, losses, failures, bounds and ends, on a Ray of the tests' own."""

from __future__ import annotations

import functools
import itertools
import os
import signal
import time
from typing import TYPE_CHECKING

import psutil
import pytest
import ray

from nanostream.errors import BackendError, RenderError, StreamError
from nanostream.stream import health
from nanostream.stream.ray import RayEngine
from nanostream.telemetry import metrics
from nanostream.testing import FakeRecipe, FakeSynth

if TYPE_CHECKING:
    from collections.abc import Iterator

RAY_CPUS = 8
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_ray")]
RECIPE = FakeRecipe()
FAKE = "nanostream.testing:FakeSynth"


def in_order(size: int = 4) -> Iterator[range]:
    return (range(start, start + size) for start in itertools.count(0, size))


def pids(engine: RayEngine) -> list[int]:
    return ray.get([worker.handle.pid.remote() for worker in engine._pool.workers])


def test_same_samples_as_the_renderer_alone() -> None:
    """Three workers give the samples of the renderer alone, in the order of the leases."""
    with RayEngine(RECIPE, seed=2, workers=3, synth=FAKE) as engine:
        got = list(itertools.islice(engine.samples(in_order()), 50))
        assert engine.build.backend == "fake"
        assert engine.sample(7).index == 7
    alone = FakeSynth(RECIPE)
    assert [s.digest() for s in got] == [alone.render(seed=2, index=i).digest() for i in range(50)]


def test_killed_worker_loses_nothing_and_repeats_nothing() -> None:
    """SIGKILL of a worker costs its leases again and nothing else, also with one worker."""
    for workers in (1, 2):
        with RayEngine(RECIPE, workers=workers, synth=functools.partial(FakeSynth, seconds=0.01)) as engine:
            samples = engine.samples(in_order())
            got = [sample.index for sample in itertools.islice(samples, 20)]
            os.kill(pids(engine)[0], signal.SIGKILL)
            got += [sample.index for sample in itertools.islice(samples, 60)]
            assert got == list(range(80))
            stats = engine.counters.stats()
            assert stats.leases_again + stats.leases_hedged > 0
            samples.close()


def restarts(cause: str) -> float:
    return metrics().registry.get_sample_value("nanostream_worker_restarts_total", {"cause": cause}) or 0.0


def test_frozen_worker_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that answers no ping is started again, and with one worker the stream goes on then."""
    monkeypatch.setattr(health, "_FROZEN_SECONDS", 1.0)
    before = restarts("frozen")
    with RayEngine(RECIPE, workers=1, synth=functools.partial(FakeSynth, seconds=0.01)) as engine:
        samples = engine.samples(in_order())
        got = [sample.index for sample in itertools.islice(samples, 20)]
        os.kill(engine.pids()[0], signal.SIGSTOP)
        got += [sample.index for sample in itertools.islice(samples, 40)]
        samples.close()
    assert got == list(range(60))
    assert restarts("frozen") == before + 1


def test_worker_that_grows_is_started_again() -> None:
    """A worker over the resident size is started again, one at a time, and no lease is lost by it."""
    before = restarts("resident")
    synth = functools.partial(FakeSynth, seconds=0.005, leak_bytes=1 << 20)
    with RayEngine(RECIPE, workers=2, synth=synth, most_resident_bytes=1 << 20) as engine:
        born = engine.pids()
        samples = engine.samples(in_order())
        assert [sample.index for sample in itertools.islice(samples, 500)] == list(range(500))
        samples.close()
        assert engine.counters.stats().leases_again == 0
        assert set(born) - set(engine.pids())
    assert restarts("resident") > before


def test_broken_index_raises_when_its_turn_comes() -> None:
    """An index that fails on two workers raises RenderError, after all samples before it."""
    with RayEngine(RECIPE, seed=5, workers=2, synth=functools.partial(FakeSynth, broken={13})) as engine:
        got = []
        with pytest.raises(RenderError, match=r"sample 13 of recipe 'fake'.*seed 5.*broken on purpose"):
            got.extend(sample.index for sample in engine.samples(in_order()))
        # `extend` keeps what came before the error.
        assert got == list(range(13))


def test_index_that_ends_its_worker_raises() -> None:
    """An index that kills each process that renders it raises RenderError and names the index."""
    with RayEngine(RECIPE, workers=2, synth=functools.partial(FakeSynth, fatal={6})) as engine:
        samples = engine.samples(in_order())
        assert [next(samples).index for _ in range(6)] == list(range(6))
        with pytest.raises(RenderError, match=r"sample 6 of .*the end of \d render workers"):
            next(samples)


def no_backend(recipe: FakeRecipe) -> FakeSynth:
    msg = "expected a backend, got none; install one"
    raise BackendError(msg)


def test_renderer_that_cannot_start_says_why() -> None:
    """A worker's own error comes through with its class and its sentence."""
    synth = functools.partial(FakeSynth, nonsense=1)
    with RayEngine(RECIPE, synth=synth) as engine, pytest.raises(StreamError, match="nonsense"):
        engine.sample(0)
    with RayEngine(RECIPE, synth="nanostream.nowhere:Synth") as engine, pytest.raises(StreamError, match="nowhere"):
        engine.sample(0)


def test_silence_ends_in_an_error() -> None:
    """A worker that does not answer raises StreamError after timeout_seconds, not never."""
    with RayEngine(RECIPE, synth=functools.partial(FakeSynth, seconds=60), timeout_seconds=6) as engine:
        assert engine.build.backend == "fake"
        began = time.monotonic()
        with pytest.raises(StreamError, match="within 6 s"):
            engine.sample(0)
        assert time.monotonic() - began < 30


def test_flight_is_bounded() -> None:
    """A consumer that stops asking stops the workers after (in_flight + 1) leases each."""
    with RayEngine(RECIPE, workers=2, synth=FAKE) as engine:
        samples = engine.samples(in_order(4))
        next(samples)
        time.sleep(0.5)
        next(samples)
        assert engine.counters.stats().samples_rendered <= 3 * 2 * 4
        samples.close()
        wide = engine.samples(in_order(4), ahead=100)
        before = engine.counters.stats()
        # What has come is counted when somebody asks; a slow machine needs longer.
        for _ in range(60):
            next(wide)
            stats = engine.counters.stats()
            ahead = (
                stats.samples_rendered - before.samples_rendered - stats.samples_delivered + before.samples_delivered
            )
            if ahead >= 90:
                break
            time.sleep(0.2)
        assert ahead >= 90


def test_closed_iterator_frees_the_workers() -> None:
    """What an abandoned iterator has asked for does not hold up the next one."""
    with RayEngine(RECIPE, workers=1, synth=functools.partial(FakeSynth, seconds=0.2)) as engine:
        samples = engine.samples(in_order(8), ahead=400)
        next(samples)
        samples.close()
        began = time.monotonic()
        assert engine.sample(3).index == 3
        assert time.monotonic() - began < 3


def test_fewer_cpus_than_workers_says_so() -> None:
    """More workers than free CPUs warn and go on with those; none at all is an error."""
    with pytest.warns(UserWarning, match="20 render workers .* going on with 8"):
        engine = RayEngine(RECIPE, workers=20, synth=FAKE)
    with engine:
        assert engine.workers == 8
        assert engine.sample(1).index == 1
        with pytest.raises(StreamError, match="free CPU"):
            RayEngine(RECIPE, workers=1, synth=FAKE)


def test_bad_settings_are_refused() -> None:
    """Lambdas, large renderers and senseless numbers raise StreamError before anything starts."""
    for bad in (
        {"synth": lambda recipe: FakeSynth(recipe, seconds=1)},
        {"synth": functools.partial(FakeSynth, backend="x" * 100_000)},
        {"workers": 0},
        {"timeout_seconds": 0.0},
    ):
        with pytest.raises(StreamError, match="expected"):
            RayEngine(RECIPE, **bad)


def test_closed_engine_is_refused() -> None:
    """A closed engine raises StreamError, and closing again does nothing."""
    engine = RayEngine(RECIPE, synth=FAKE)
    samples = engine.samples(in_order())
    next(samples)
    engine.close()
    engine.close()
    with pytest.raises(StreamError, match="open"):
        list(samples)
    with pytest.raises(StreamError, match="open"):
        engine.sample(0)


def test_memory_does_not_grow_with_what_was_delivered() -> None:
    """After 1.3 GB of samples the consumer holds no more than after 0.3 GB, and the object store is empty again."""
    process = psutil.Process()
    synth = functools.partial(FakeSynth, height=640, width=700)
    with RayEngine(RECIPE, workers=2, synth=synth, in_flight_bytes=20 << 20) as engine:
        samples = engine.samples(in_order())
        sizes = []
        for number, sample in enumerate(itertools.islice(samples, 1000)):
            assert int(sample.image[0, 0]) >= 0
            if number % 50 == 49:
                sizes.append(process.memory_full_info().uss)
        samples.close()
        assert max(sizes[5:]) - max(sizes[:5]) < 64 << 20, sizes
        until = time.monotonic() + 20
        while used_store() > 1 << 20 and time.monotonic() < until:
            time.sleep(0.1)
        assert used_store() <= 1 << 20


def used_store() -> float:
    return ray.cluster_resources()["object_store_memory"] - ray.available_resources().get("object_store_memory", 0.0)
