"""What the stream itself costs. Prints one line a figure, with what is promised and whether it holds.

    python benchmarks/stream.py            all but --real and --train, about a minute
    python benchmarks/stream.py --real     also real samples: delivered, and rendered with nobody listening
    python benchmarks/stream.py --train    also a U-Net that trains on the stream

Exits with 1 where a promise does not hold. Other work on the machine tells in the rates and in what the U-Net waits.

bare loop      the same actors, asked for leases of the same size by a loop that keeps two calls a worker
               in flight and counts what comes, in any order
engine cost    CPU time of this process a sample, over workers that only wait on a clock that jumps
efficiency     samples times their seconds over workers times the time that passed, on that clock and here;
               other work on the machine does not tell in these two
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from nanostream.sample import Sample
from nanostream.stream.flight import Flight
from nanostream.stream.ray import RayEngine
from nanostream.telemetry import StreamCounters
from nanostream.testing import FakeRecipe, FakeSynth, SimulatedPool

if TYPE_CHECKING:
    from collections.abc import Iterator

LEASE = 8
IN_FLIGHT = 2
LARGE = FakeRecipe(height=640, width=700)
"""Samples of 1.3 MB."""

MOST_COST, LEAST_EFFICIENCY, LEAST_RATIO, MOST_WAIT = 100, 0.95, 0.97, 0.02


def leases(count: int) -> Iterator[range]:
    """Ranges of LEASE indices, `count` indices in all."""
    return (range(start, min(count, start + LEASE)) for start in range(0, count, LEASE))


def bare_rate(engine: RayEngine, count: int, *, listen: bool = True) -> float:
    """Samples/s of the engine's own actors in a bare loop; without `listen`, what they send is not read."""
    import ray

    pool = engine._pool  # noqa: SLF001 - the loop stands beside the engine, over the same actors
    plan = leases(count)
    asked: dict[Any, Any] = {}
    done, began = 0, time.perf_counter()

    def ask(worker: Any) -> None:
        lease = next(plan, None)
        if lease is not None:
            call = worker.handle.render.remote("bare", 0, (lease.start, lease.stop, lease.step))
            asked[call] = worker, len(lease)

    for worker in pool.workers * IN_FLIGHT:
        ask(worker)
    while asked:
        # Without fetching, the samples stay where they were rendered.
        (call,), _ = ray.wait(list(asked), num_returns=1, fetch_local=listen)
        worker, size = asked.pop(call)
        ask(worker)
        done += len(ray.get(call).samples) if listen else size
    assert done == count
    return count / (time.perf_counter() - began)


def engine_rate(engine: RayEngine, count: int) -> float:
    """Samples/s that the engine hands on, in order."""
    began = time.perf_counter()
    assert sum(1 for _ in engine.samples(leases(count))) == count
    return count / (time.perf_counter() - began)


def compare(engine: RayEngine, count: int, rounds: int, *, listen: bool) -> tuple[float, float, float]:
    """Medians of both rates, and of their ratio in one round; they take turns, and the first of each does not count."""
    engine_rate(engine, count // 4)
    bare_rate(engine, count // 4, listen=listen)
    pairs = []
    for number in range(rounds):
        if number % 2:
            bare, ours = bare_rate(engine, count, listen=listen), engine_rate(engine, count)
        else:
            ours, bare = engine_rate(engine, count), bare_rate(engine, count, listen=listen)
        pairs.append((ours, bare, ours / bare))
    ours, bare, ratio = (statistics.median(column) for column in zip(*pairs, strict=True))
    return ours, bare, ratio


def simulated(workers: int, *, seconds: float = 0.05, rounds: int = 200) -> tuple[float, float]:
    """Engine cost in microseconds a sample, and efficiency, over simulated workers."""
    image, mask = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint16)

    def render(seed: int, index: int) -> Sample:
        return Sample(seed=seed, index=index, image=image, mask=mask, meta={})

    def run(count: int) -> tuple[float, float]:
        pool = SimulatedPool(workers, render=render, seconds=seconds)
        counters = StreamCounters()
        flight = Flight(
            pool, leases(count), recipe=LARGE, seed=0, counters=counters, per_worker=IN_FLIGHT, clock=pool.clock
        )
        began = time.process_time()
        for sample in flight.samples():
            counters.asked()
            counters.delivered(sample.nbytes)
        return time.process_time() - began, pool.now

    def rendering(count: int) -> float:
        began = time.process_time()
        for index in range(count):
            render(0, index)
        return time.process_time() - began

    count = rounds * workers
    spent, passed = run(count)
    return 1e6 * (spent - rendering(count)) / count, count * seconds / workers / (passed + spent)


def training(minutes: float) -> tuple[float, float, float, float]:
    """A U-Net on real samples from two workers: share of time waited, rendering and training seconds a sample."""
    import torch
    from monai.networks.nets import UNet  # type: ignore[reportPrivateImportUsage]

    from nanostream.dataset import StreamingDataset
    from nanostream.recipe import Recipe

    torch.set_num_threads(1)
    net = UNet(2, 1, 2, channels=(32, 64, 128, 256), strides=(2, 2, 2), num_res_units=2)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    with StreamingDataset(Recipe.preset("tio2-sem"), engine="ray", workers=2, batch_size=4) as dataset:
        until, train_seconds, count = None, 0.0, 0
        before = dataset.stats
        for number, batch in enumerate(dataset):
            began = time.perf_counter()
            target = (batch["mask"] > 0).long()
            loss = torch.nn.functional.cross_entropy(net(batch["image"]), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if number == 3:  # noqa: PLR2004 - the first batches compile kernels and fill the window
                before, until, train_seconds, count = dataset.stats, time.monotonic() + 60 * minutes, 0.0, 0
                continue
            train_seconds += time.perf_counter() - began
            count += len(target)
            if until is not None and time.monotonic() > until:
                break
        after = dataset.stats
    waited = (after.wait_seconds - before.wait_seconds) / (after.elapsed_seconds - before.elapsed_seconds)
    render = (after.render_seconds - before.render_seconds) / max(1, after.samples_rendered - before.samples_rendered)
    rate = count / (after.elapsed_seconds - before.elapsed_seconds)
    return waited, render, train_seconds / count, rate


class Verdicts:
    """Prints figures beside what is promised of them."""

    def __init__(self) -> None:
        self.hold = True

    def __call__(self, text: str, promise: str, *, holds: bool) -> None:
        """One figure."""
        self.hold &= holds
        print(f"{text} [{promise}: {'yes' if holds else 'NO'}]", flush=True)


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    words = parser.parse_args()
    warnings.simplefilter("ignore")
    say = Verdicts()
    costs = {workers: simulated(workers) for workers in (1, 2, 4, 8, 16, 32, 64)}
    cost = costs[64][0]
    say(f"engine cost at 64 simulated workers: {cost:.0f} microseconds a sample", "under 100", holds=cost < MOST_COST)
    shares = ", ".join(f"{workers}: {100 * share:.1f} %" for workers, (_, share) in costs.items())
    least = min(share for _, share in costs.values())
    say(f"efficiency at simulated workers: {shares}", "over 95 %", holds=least > LEAST_EFFICIENCY)
    with RayEngine(LARGE, workers=2, synth=functools.partial(FakeSynth, seconds=0.002)) as engine:
        ours, bare, ratio = compare(engine, 1600, words.rounds, listen=True)
    text = f"2 ms, 1.3 MB, 2 workers: {ours:.0f}/s in order, bare loop {bare:.0f}/s: {100 * ratio:.1f} %"
    say(text, "97 % or more", holds=ratio >= LEAST_RATIO)
    if words.real:
        from nanostream.recipe import Recipe

        with RayEngine(Recipe.preset("tio2-sem"), workers=2) as engine:
            ours, bare, ratio = compare(engine, 640, words.rounds, listen=False)
        text = f"tio2-sem, 2 workers: {ours:.1f}/s delivered, {bare:.1f}/s rendered: {100 * ratio:.1f} %"
        say(text, "97 % or more", holds=ratio >= LEAST_RATIO)
    if words.train:
        waited, render, train, rate = training(0.75)
        text = (
            f"U-Net beside 2 workers: waits {100 * waited:.1f} % of its time at {rate:.1f} samples/s; a sample renders "
            f"in {1e3 * render:.0f} ms, so comes every {500 * render:.0f} ms, and trains in {1e3 * train:.0f} ms: "
            f"1 to {2 * train / render:.1f}"
        )
        say(text, "under 2 %", holds=waited < MOST_WAIT)
    return 0 if say.hold else 1


if __name__ == "__main__":
    sys.exit(main())
