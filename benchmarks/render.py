"""How near one sample comes to the time that its rays need, and what its rays buy.

    python benchmarks/render.py            # all but the last, ten minutes on two quiet cores
    python benchmarks/render.py rays error # parts of it

rays: a whole sample against its camera and occlusion rays traced alone, one thread.
error: Monte Carlo error before the detector's noise, after its blur, against that noise, by grey level.
workers: samples a second of one and of two processes of one thread each.
together: samples a second of one process with several samples in flight.
first: seconds to the first sample, with and without kernels on disk, and kernels compiled after it.
published: the published settings in Mitsuba's general integrators against this one, in the same scenes.
resident: memory of one worker over 20,000 samples; a quarter of an hour.
Each figure is a median over samples; ratios are within one run.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
import psutil
from render_error import error
from render_published import published
from render_scene import PICTURE, RECIPE, SIZE, ensemble_of, surfaces_of

from nanostream.synth import Synth


def milliseconds(work: Any) -> float:
    """Time of one call, until the device has done what it asked for."""
    import drjit as dr

    dr.sync_thread()
    begun = time.perf_counter()
    work()
    dr.sync_thread()
    return 1e3 * (time.perf_counter() - begun)


def rays(samples: int) -> None:
    """A whole sample against its rays."""
    synth = Synth(RECIPE)
    alone, whole, counts = [], [], []
    for index in range(samples):
        trace, count = rays_of(index)
        trace()
        alone.append(milliseconds(trace))
        counts.append(count)
        # As in a stream, another sample has come just before.
        synth.render(seed=0, index=samples + index)
        whole.append(milliseconds(lambda index=index: synth.render(seed=0, index=index)))
    ratios = [a / b for a, b in zip(whole[5:], alone[5:], strict=True)]
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    print(
        f"rays     {statistics.median(counts[5:]) / 1e3:.0f} thousand rays take {statistics.median(alone[5:]):.1f} ms, "
        f"the whole sample {statistics.median(whole[5:]):.1f} ms: {middle:.2f} times as long "
        f"(quartiles {low:.2f} and {high:.2f})"
    )


class Recorder:
    """A scene that remembers the rays that are traced against it."""

    def __init__(self, scene: Any) -> None:
        self.scene = scene
        self.rays: list[tuple[str, Any, dict[str, Any]]] = []
        self.looped = 0

    def __getattr__(self, name: str) -> Any:
        import drjit as dr

        def traced(ray: Any, **options: Any) -> Any:
            if dr.flag(dr.JitFlag.SymbolicScope):
                self.looped = dr.width(ray)
            else:
                self.rays.append((name, ray, options))
            return getattr(self.scene, name)(ray, **options)

        return traced


def rays_of(index: int) -> tuple[Any, int]:
    """What traces the very rays of a sample from memory and does nothing else, and how many there are."""
    import drjit as dr
    import mitsuba as mi

    from nanostream.render.particles import ParticleRenderer

    class Recorded(ParticleRenderer):
        def record(self) -> Recorder:
            self._geometry.scene = recorder = Recorder(self._geometry.scene)
            return recorder

    ensemble, renderer = ensemble_of(index), Recorded(RECIPE.camera, **SIZE)
    recorder = renderer.record()
    renderer.load(ensemble)
    renderer.shade(surfaces_of(ensemble, index), seed=index)
    outline, _ = renderer.picture()
    # Rays through the pile are traced in a loop: out of the first particle, into and out of each behind it, and on.
    behind = 2 * recorder.looped + 2 * int((outline.own_px - outline.visible_px).sum())
    rays = list(recorder.rays)
    if behind:
        pixel = np.resize(np.flatnonzero(outline.owner), behind)
        row, column = np.divmod(pixel, PICTURE.width) + np.array(0.5)
        start = mi.Point3f(mi.Float(column * PICTURE.pixel_nm), mi.Float(row * PICTURE.pixel_nm), 1e4)
        rays.append(("ray_intersect_preliminary", mi.Ray3f(start, mi.Vector3f(0, 0, -1)), {"coherent": True}))
    active = [mi.Bool(options.get("active", True)) for _, _, options in rays]
    dr.eval([(ray.o, ray.d) for _, ray, _ in rays], active)

    def trace() -> None:
        for name, ray, options in rays:
            found = getattr(recorder.scene, name)(ray, **options)
            dr.eval(found if name == "ray_test" else found.t)

    count = sum(
        int(np.broadcast_to(np.array(on), dr.width(ray)).sum()) for on, (_, ray, _) in zip(active, rays, strict=True)
    )
    return trace, count


def together() -> None:
    """One process with several samples in flight."""
    synth = Synth(RECIPE)
    list(synth.render_many(seed=0, indices=range(8)))
    for count in (1, 8, 1, 8):
        taken = milliseconds(lambda count=count: list(synth.render_many(seed=0, indices=range(64), together=count)))
        print(f"together {count} in flight: {64e3 / taken:.1f} samples/s")


def _render_many(queue: Any, start: Any, offset: int, count: int) -> None:
    synth = Synth(RECIPE)
    for index in range(20):
        synth.render(seed=0, index=index)
    start.wait()
    begun = time.perf_counter()
    for index in range(offset, offset + count):
        synth.render(seed=0, index=index)
    queue.put(count / (time.perf_counter() - begun))


def rate(processes: int, count: int = 150) -> float:
    """Samples a second of so many processes, after twenty samples each."""
    context = multiprocessing.get_context("spawn")
    queue, start = context.Queue(), context.Barrier(processes)
    workers = [
        context.Process(target=_render_many, args=(queue, start, 1000 * (k + 1), count)) for k in range(processes)
    ]
    for worker in workers:
        worker.start()
    total = sum(queue.get() for _ in workers)
    for worker in workers:
        worker.join()
    return total


def workers() -> None:
    """One and two workers of one thread."""
    ones, twos = zip(*[(rate(1), rate(2)) for _ in range(3)], strict=True)
    one, two = statistics.median(ones), statistics.median(twos)
    print(
        f"workers  one {one:.1f} samples/s (from {min(ones):.1f} to {max(ones):.1f}), two {two:.1f} "
        f"(from {min(twos):.1f} to {max(twos):.1f}), {two / one:.2f} times"
    )


def first() -> None:
    """Seconds after the imports to the first sample in fresh processes, and kernels compiled after the first."""
    code = (
        "import time, nanostream.synth as s; from nanostream.recipe import Recipe; "
        "from nanostream.render import backend; backend.start(); "
        "t = time.perf_counter(); s.render(Recipe.preset('tio2-sem'), 0); print(time.perf_counter() - t)"
    )
    times = {}
    for kind, count in (("cold", 3), ("warm", 5)):
        times[kind] = []
        for _ in range(count):
            with tempfile.TemporaryDirectory() as home:
                # Dr.Jit keeps compiled kernels in the home folder.
                environment = {**os.environ, "HOME": home} if kind == "cold" else None
                done = subprocess.run(
                    [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
                )
            times[kind].append(float(done.stdout))
    synth = Synth(RECIPE)
    import drjit as dr

    synth.render(seed=0, index=0)
    with dr.scoped_set_flag(dr.JitFlag.KernelHistory, True):
        dr.kernel_history_clear()
        for index in range(200):
            synth.render(seed=index % 3, index=index)
        history = dr.kernel_history([dr.KernelType.JIT])
    compiled = sum(not kernel["cache_hit"] for kernel in history)
    told = ", ".join(
        f"{statistics.median(some):.2f} s with {kind} kernels (from {min(some):.2f} to {max(some):.2f})"
        for kind, some in times.items()
    )
    print(f"first    after the imports {told}; {compiled} of {len(history)} launches of 200 samples compiled a kernel")


def resident() -> None:
    """Memory of one worker over 20,000 samples."""
    synth, process, sizes = Synth(RECIPE), psutil.Process(), []
    for index in range(20_001):
        synth.render(seed=1, index=index)
        if index in {500, 5_000, 10_000, 15_000, 20_000}:
            sizes.append(process.memory_info().rss)
            share = sizes[-1] / sizes[0]
            print(
                f"resident {sizes[-1] / 2**20:.0f} MiB after {index} samples, {share:.3f} of that after 500", flush=True
            )


PARTS = {
    "rays": rays,
    "error": error,
    "workers": workers,
    "together": together,
    "first": first,
    "published": published,
    "resident": resident,
}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--samples", type=int, default=60, help="of the part rays; 60")
    words = parser.parse_args()
    for name in words.parts or list(PARTS)[:-1]:
        (PARTS | {"rays": functools.partial(rays, words.samples)})[name]()


if __name__ == "__main__":
    main()
