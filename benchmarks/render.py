"""How near one sample comes to the time that its rays need, and what its rays buy.

    python benchmarks/render.py            # all of it, a few minutes on two quiet cores
    python benchmarks/render.py rays error # parts of it

rays: a whole sample against its camera and occlusion rays traced alone, one thread.
error: Monte Carlo error before the detector's noise, after its blur, against that noise, by grey level.
workers: samples a second of one and of two processes of one thread each.
first: seconds to the first sample, and kernels compiled after it.
Each figure is a median over samples; ratios are within one run.
"""

from __future__ import annotations

import multiprocessing
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
import scipy.ndimage

from nanostream.recipe import Recipe
from nanostream.render import backend
from nanostream.scene.config import SceneConfig
from nanostream.scene.ensemble import build_ensemble
from nanostream.seeding import Purpose, generator
from nanostream.synth import Synth
from nanostream.texture.distribution import DistributionTexture

SAMPLES = 60
ERROR_SAMPLES = 6
REFERENCE_SPP = 4096
RECIPE = Recipe.preset("tio2-sem")
PICTURE = RECIPE.picture
SIZE = {"height": PICTURE.height, "width": PICTURE.width, "pixel_nm": PICTURE.pixel_nm}
EXTENT = {"height_nm": PICTURE.height * PICTURE.pixel_nm, "width_nm": PICTURE.width * PICTURE.pixel_nm}


def milliseconds(work: Any) -> float:
    """Time of one call, until the device has done what it asked for."""
    import drjit as dr

    dr.sync_thread()
    begun = time.perf_counter()
    work()
    dr.sync_thread()
    return 1e3 * (time.perf_counter() - begun)


def ensemble_of(index: int) -> Any:
    """The sample's particles."""
    assert isinstance(RECIPE.scene, SceneConfig)
    return build_ensemble(RECIPE.scene, **EXTENT, pixel_nm=PICTURE.pixel_nm, rng=generator(0, index, Purpose.SCENE))


def surfaces_of(ensemble: Any, index: int) -> Any:
    """Its surfaces, with every particle on the ground."""
    lift = np.zeros(len(ensemble))
    assert isinstance(RECIPE.texture, DistributionTexture)
    return RECIPE.texture.draw(generator(0, index, Purpose.TEXTURE), lift=lift, **SIZE)


def rays() -> None:
    """A whole sample against its rays."""
    synth = Synth(RECIPE)
    alone, whole, counts = [], [], []
    for index in range(SAMPLES):
        trace, count = rays_of(index)
        trace()
        alone.append(milliseconds(trace))
        counts.append(count)
        whole.append(milliseconds(lambda index=index: synth.render(seed=0, index=index)))
    ratios = [a / b for a, b in zip(whole[5:], alone[5:], strict=True)]
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    print(
        f"rays     {statistics.median(counts[5:]) / 1e3:.0f} thousand rays take {statistics.median(alone[5:]):.1f} ms, "
        f"the whole sample {statistics.median(whole[5:]):.1f} ms: {middle:.2f} times as long "
        f"(quartiles {low:.2f} and {high:.2f})"
    )


def rays_of(index: int) -> tuple[Any, int]:
    """What traces the rays of a sample from memory and does nothing else, and how many there are."""
    import drjit as dr
    import mitsuba as mi

    from nanostream.render.geometry import Geometry
    from nanostream.render.outline import trace_outline

    ensemble, geometry, rng = ensemble_of(index), Geometry(), np.random.default_rng(index)
    geometry.load(ensemble, **EXTENT)
    outline = trace_outline(geometry, **SIZE)
    top, down = dr.opaque(mi.Float, geometry.top_nm + 1), mi.Vector3f(0, 0, -1)

    def points(pixels: Any) -> tuple[Any, Any]:
        column, row = (
            pixels % PICTURE.width + rng.random(len(pixels)),
            pixels // PICTURE.width + rng.random(len(pixels)),
        )
        return mi.Float(column * PICTURE.pixel_nm), mi.Float(row * PICTURE.pixel_nm)

    def lobe(count: int) -> Any:
        return mi.warp.square_to_cosine_hemisphere(mi.Point2f(mi.Float(rng.random(count)), mi.Float(rng.random(count))))

    near = np.asarray(scipy.ndimage.binary_dilation(outline.owner > 0, np.ones((3, 3), bool)), bool).ravel()
    seen = mi.Point3f(*points(np.repeat(np.flatnonzero(near), RECIPE.camera.particle_samples)), top)
    hit = geometry.scene.ray_intersect_preliminary(mi.Ray3f(seen, down), coherent=True)
    frame = mi.Frame3f(geometry.surface(hit)[1])
    start = mi.Point3f(seen.x, seen.y, top - hit.t + 0.05)
    ground = mi.Point3f(*points(np.repeat(np.flatnonzero(~near), RECIPE.camera.ground_samples)), 0.05)
    # The ids' rays: down through every pixel, and into and out of each particle that it meets.
    layers = 2 * round(float(outline.own_px.sum() / max(1, (outline.owner > 0).sum())))
    through = np.concatenate([np.arange(near.size), np.repeat(np.flatnonzero(outline.owner), layers)])
    camera = [seen, mi.Point3f(*points(through), top)]
    occlusion = [(start, frame.to_world(lobe(dr.width(seen)))), (ground, lobe(dr.width(ground)))]
    dr.eval(camera, occlusion)

    def trace() -> None:
        for origin in camera:
            dr.eval(geometry.scene.ray_intersect_preliminary(mi.Ray3f(origin, down), coherent=True).t)
        for origin, out in occlusion:
            dr.eval(geometry.scene.ray_test(mi.Ray3f(origin, out)))

    return trace, sum(dr.width(o) for o in camera) + sum(dr.width(o) for o, _ in occlusion)


def error() -> None:
    """Monte Carlo error by grey level against the detector's noise."""
    backend.start()
    from nanostream.render.camera import Camera
    from nanostream.render.particles import ParticleRenderer

    detector = RECIPE.detector
    blur, gain, gamma = detector.blur_px.mean, detector.gain.mean, detector.gamma.mean
    edges = np.array([0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0])
    cameras = {
        f"{particle}/{ground}": Camera(particle_samples=particle, ground_samples=ground)
        for particle, ground in ((4, 1), (4, 2), (8, 2), (8, 4), (16, 4), (32, 8))
    }

    def signal(camera: Camera, outline_of: Any, table: Any, seed: int) -> np.ndarray:
        renderer = ParticleRenderer(camera, **SIZE)
        radiance = renderer.radiance(renderer.outline(outline_of), table, seed=seed)
        return (scipy.ndimage.gaussian_filter(radiance, blur) * gain) ** gamma

    squares: dict[str, list[list[float]]] = {name: [[] for _ in edges[1:]] for name in cameras}
    reference = Camera(particle_samples=REFERENCE_SPP, ground_samples=REFERENCE_SPP // 4)
    for index in range(ERROR_SAMPLES):
        ensemble = ensemble_of(index)
        table = surfaces_of(ensemble, index)
        truth = signal(reference, ensemble, table, seed=10**6 + index)
        level = np.digitize(truth, edges) - 1
        for name, camera in cameras.items():
            off = (signal(camera, ensemble, table, seed=index) - truth) ** 2
            for k, values in enumerate(squares[name]):
                values.extend(off[level == k].tolist())
    middle = (edges[1:] + edges[:-1]) / 2
    noise = np.sqrt(detector.shot_noise.mean * middle + detector.read_noise.mean**2)
    print("error    samples a pixel, particle/ground: RMSE over the detector's noise at grey level")
    print("         " + " ".join(f"{m:7.2f}" for m in middle))
    for name, levels in squares.items():
        shares = [np.sqrt(np.mean(v)) / n if v else np.nan for v, n in zip(levels, noise, strict=True)]
        print(f"  {name:>6} " + " ".join(f"{share:7.2f}" for share in shares))


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
        "import time, nanostream.recipe, nanostream.synth as s, mitsuba; from nanostream.recipe import Recipe; "
        "t = time.perf_counter(); s.render(Recipe.preset('tio2-sem'), 0); print(time.perf_counter() - t)"
    ).replace(", mitsuba;", "; from nanostream.render import backend; backend.start();")
    times = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(5)
    ]
    synth = Synth(RECIPE)
    import drjit as dr

    synth.render(seed=0, index=0)
    with dr.scoped_set_flag(dr.JitFlag.KernelHistory, True):
        dr.kernel_history_clear()
        for index in range(200):
            synth.render(seed=index % 3, index=index)
        history = dr.kernel_history([dr.KernelType.JIT])
    compiled = sum(not kernel["cache_hit"] for kernel in history)
    print(
        f"first    {statistics.median(times):.2f} s after the imports with warm kernels (from {min(times):.2f} to "
        f"{max(times):.2f}); {compiled} of {len(history)} launches of 200 samples compiled a kernel"
    )


PARTS = {"rays": rays, "error": error, "workers": workers, "first": first}

if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()
