"""What a plan starts from, measured here: a render worker's rate, and what taking a sample costs."""

from __future__ import annotations

import functools
import itertools
import os
import resource
import time
import warnings
from typing import TYPE_CHECKING

from nanostream.bench.machine import processor_name
from nanostream.bench.plan import Measured
from nanostream.bench.render import measure_render
from nanostream.dataset import StreamingDataset
from nanostream.testing import FakeRecipe, FakeSynth

if TYPE_CHECKING:
    from nanostream.recipe import Recipe

__all__ = ["measure", "taking_seconds"]

_BATCH = 16
_WARM_BATCHES = 8


def measure(recipe: Recipe, *, samples: int = 60, seed: int = 0) -> Measured:
    """Render on one thread, then take samples of the same size from Ray; about half a minute.

    Raises RenderError or StreamError where either cannot be done.
    """
    figures = measure_render(recipe, samples=samples, seed=seed)
    # The only child so far is the one that rendered.
    resident = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    gpu = figures.backend.startswith("cuda")
    return Measured(
        unit="GPU" if gpu else "core",
        kind=_gpu_name() if gpu else processor_name(),
        units_here=_gpu_count() if gpu else len(os.sched_getaffinity(0)),
        backend=figures.backend,
        # Processor time of the one thread: what a core reaches that nobody else uses.
        samples_per_second=figures.samples_per_second if gpu else figures.samples / figures.cpu_seconds,
        taking_seconds=taking_seconds(height=figures.height, width=figures.width),
        resident_bytes=resident,
    )


def taking_seconds(*, height: int, width: int, batches: int = 40) -> float:
    """Processor time of this process for each sample that it takes from a Ray worker which renders nothing."""
    recipe = FakeRecipe(height=height, width=width)
    synth = functools.partial(FakeSynth, seconds=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with StreamingDataset(recipe, batch_size=_BATCH, engine="ray", workers=1, synth=synth) as dataset:
            stream = iter(dataset)
            for _ in itertools.islice(stream, _WARM_BATCHES):
                pass
            began = time.process_time()
            taken = sum(1 for _ in itertools.islice(stream, batches))
            return (time.process_time() - began) / (taken * _BATCH)


def _gpu_name() -> str:
    import torch

    return torch.cuda.get_device_name(0)


def _gpu_count() -> int:
    import torch

    return max(1, torch.cuda.device_count())
