"""Disturbances of the workers of one Ray, and of what consumes from them."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import pathlib
import random
import shutil
import signal
import tempfile
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from chaos_row import CLEAN_SECONDS, RECIPE, SECONDS, Consumed, Row

from nanostream.dataset import StreamingDataset
from nanostream.stream.ray import RayEngine
from nanostream.testing import FakeRecipe, FakeSynth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LARGE = FakeRecipe(height=640, width=700)
"""Samples of 1.3 MB."""

_KEEPER_LOST_AT = 100


def engine_row(
    name: str,
    disturb: Callable[[RayEngine, random.Random, int], None],
    *,
    seed: int,
    count: int = 300,
    recipe: FakeRecipe = RECIPE,
    synth: Any = None,
    **settings: Any,
) -> Row:
    """Samples of an engine; `disturb(engine, random, number)` is called before each."""
    chance, consumed = random.Random(seed), Consumed()
    engine = RayEngine(recipe, seed=seed, synth=synth or functools.partial(FakeSynth, seconds=SECONDS), **settings)
    with contextlib.closing(engine):
        assert engine.build
        born = set(engine.pids())
        samples = engine.samples((range(start, start + 4) for start in itertools.count(0, 4)), ahead=32)
        for number, sample in enumerate(itertools.islice(consumed.timed(samples), count)):
            consumed.add(sample.index, sample.image, sample.mask)
            disturb(engine, chance, number)
        samples.close()
        peak = engine.counters.stats().peak_bytes_in_flight
        began = time.perf_counter()
    while any(pathlib.Path(f"/proc/{pid}").exists() for pid in born) and time.perf_counter() - began < CLEAN_SECONDS:
        time.sleep(0.02)
    end = time.perf_counter() - began
    return consumed.row(name, recipe=recipe, seed=seed, peak_bytes=peak, end_seconds=end)


def quiet(_engine: RayEngine, _chance: random.Random, _number: int) -> None:
    """Disturb nothing."""


def signalled(what: signal.Signals, times: tuple[int, ...]) -> Callable[[RayEngine, random.Random, int], None]:
    """Send a signal to a worker chosen at random, each time so many samples have come."""

    def disturb(engine: RayEngine, chance: random.Random, number: int) -> None:
        if number in times:
            with contextlib.suppress(Exception):
                os.kill(chance.choice(engine.pids()), what)

    return disturb


def killed_workers(seed: int) -> Row:
    """SIGKILL of a worker, three times."""
    return engine_row("worker killed, 3 times", signalled(signal.SIGKILL, (40, 120, 200)), seed=seed, workers=3)


def frozen_worker(seed: int) -> Row:
    """SIGSTOP of a worker."""
    return engine_row("worker frozen", signalled(signal.SIGSTOP, (60,)), seed=seed, workers=3)


def killed_keeper(seed: int) -> Row:
    """SIGKILL of the keeper of a pool that grows, which takes all its workers along."""
    import ray

    def disturb(engine: RayEngine, _chance: random.Random, number: int) -> None:
        if number == _KEEPER_LOST_AT:
            keeper = ray.get_actor(engine.ticket.keeper, namespace="nanostream")
            os.kill(ray.get(keeper.__ray_call__.remote(lambda _: os.getpid())), signal.SIGKILL)

    return engine_row("keeper killed with all workers", disturb, seed=seed, workers=(2, 3))


def delays(seed: int) -> Row:
    """Samples that take from 2 to 42 ms."""
    synth = functools.partial(FakeSynth, seconds=0.002, jitter_seconds=0.04)
    return engine_row("calls delayed at random", quiet, seed=seed, workers=3, synth=synth)


def full_store(seed: int) -> Row:
    """An object store with room for a few samples only."""
    import ray

    ballast = []

    def disturb(_engine: RayEngine, _chance: random.Random, number: int) -> None:
        if number == 0:
            ballast.extend(ray.put(np.full(8 << 20, n, np.uint8)) for n in range(10))

    return engine_row("object store full", disturb, seed=seed, workers=3, count=200, recipe=LARGE)


def cuts(seed: int) -> Row:
    """Workers, ranks, batch size and DataLoader workers change at each cut."""
    from torch.utils.data import DataLoader

    chance, consumed, peak, end = random.Random(seed), Consumed(), 0, 0.0
    state: dict[str, Any] | None = None
    worlds = [(1, 7, 0), (3, 2, 0), (2, 4, 0), (1, 5, 2), (1, 3, 0), (2, 6, 0)]
    chance.shuffle(worlds)
    for ranks, batch_size, loaders in worlds:
        count, place, of_ranks = chance.randint(4, 9), None, []
        for rank in range(ranks):
            dataset = StreamingDataset(
                RECIPE,
                seed=seed,
                batch_size=batch_size,
                rank=rank,
                world_size=ranks,
                engine="ray",
                workers=chance.randint(1, 3),
                lease=chance.randint(1, 9),
                synth=functools.partial(FakeSynth, seconds=SECONDS),
            )
            with dataset:
                if state is not None:
                    dataset.load_state_dict(state)
                loaded = {"num_workers": loaders, "multiprocessing_context": "spawn"} if loaders else {}
                batches = list(itertools.islice(DataLoader(dataset, batch_size=None, **loaded), count))
                place = dataset.state_dict(after=batches[-1])
                peak = max(peak, dataset.stats.peak_bytes_in_flight)
                began = time.perf_counter()
            end = max(end, time.perf_counter() - began)
            of_ranks.append(batches)
        state = place
        for step in zip(*of_ranks, strict=True):
            for batch in step:
                consumed.batch(batch)
    return consumed.row("world changed at 5 cuts", recipe=RECIPE, seed=seed, peak_bytes=peak, end_seconds=end)


@contextlib.contextmanager
def small_ray() -> Iterator[None]:
    """A Ray with more CPUs on paper than there are, and the smallest object store that it takes."""
    import ray

    folder = tempfile.mkdtemp(prefix="ns-chaos-", dir="/tmp")
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=100 << 20,
        _temp_dir=folder,
    )
    try:
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


IN_ONE_RAY = (killed_workers, frozen_worker, killed_keeper, delays, full_store, cuts)
