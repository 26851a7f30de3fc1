"""A step of `nanostream fit` against one at the published settings, in one process, and what a fit takes of both.

    python benchmarks/fit.py MESHES_DIR SETTINGS.json [--steps 20] [--published-steps 3]

MESHES_DIR and SETTINGS.json are DiffRenderGAN's (github.com/dpossart/DiffRenderGAN): the meshes with meshes.json, and
the settings of a published run. Pictures are rendered here: no data is needed.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from nanostream.gan.demo import demo_pictures
from nanostream.gan.learned_fit import LearnedMethod
from nanostream.gan.patches import RealPatches
from nanostream.gan.published_fit import PublishedMethod, read_published_scene
from nanostream.gan.published_trainer import PublishedConfig
from nanostream.gan.trainer import TrainerConfig

if TYPE_CHECKING:
    from nanostream.gan.fit import Trainer


def seconds_a_step(trainer: Trainer, steps: int) -> tuple[float, float]:
    """Median seconds on the clock and of the processor, behind two steps that compile kernels."""
    for _ in range(2):
        trainer.step()
    clock, processor = [], []
    for _ in range(steps):
        start = time.perf_counter(), time.process_time()
        trainer.step()
        clock.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
    return statistics.median(clock), statistics.median(processor)


def main() -> None:
    """Print a table and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meshes", type=pathlib.Path)
    parser.add_argument("settings", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--published-steps", type=int, default=3)
    options = parser.parse_args()

    pictures, scene, pixel_nm = demo_pictures()
    rng = np.random.default_rng(0)
    learned = LearnedMethod(scene=scene, pixel_nm=pixel_nm, config=TrainerConfig())
    published_scene, spec = read_published_scene(options.settings, options.meshes)
    published = PublishedMethod(scene=published_scene, spec=spec, pixel_nm=pixel_nm, config=PublishedConfig())
    found = {}
    for method, steps in ((learned, options.steps), (published, options.published_steps)):
        real = RealPatches(pictures, patch_px=method.patch_px, count=64, rng=rng)
        found[method.name] = seconds_a_step(method.trainer(real), steps)
    batch, samples = learned.config.batch, published_scene.optics.samples_per_pixel
    print(f"{'':44}{'clock':>10}{'processor':>12}")
    for name, text in (
        ("learned", f"learned: {batch} patches of {learned.patch_px}x{learned.patch_px}"),
        ("published", f"published: 1 picture of {published.patch_px}x{published.patch_px}, {samples} spp"),
    ):
        print(f"{text:44}{found[name][0]:8.3f} s{found[name][1]:10.3f} s")
    ratio = found["published"][1] / found["learned"][1]
    print(f"A learned step is {ratio:.1f} times as fast; a rendered picture in it {ratio * batch:.0f} times.")


if __name__ == "__main__":
    main()
