"""How fast one process renders on one thread, measured in a process of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, TextIO

from nanostream.errors import RenderError

if TYPE_CHECKING:
    from nanostream.recipe import Recipe

__all__ = ["RenderFigures", "measure_render"]

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RenderFigures:
    """What was measured; seconds are wall-clock time."""

    backend: str
    """Mitsuba variant."""

    height: int
    width: int
    """Size of the picture in pixels."""

    first_sample_seconds: float
    """From the start of the process, imports and compilation included, to its first sample."""

    samples: int
    """Samples rendered after the first."""

    seconds: float
    """Time that they took."""

    cpu_seconds: float
    """Processor time that they took; about `seconds` where one thread does the work."""

    @property
    def samples_per_second(self) -> float:
        """Samples a second after the first."""
        return self.samples / self.seconds


def measure_render(recipe: Recipe, *, samples: int = 60, seed: int = 0) -> RenderFigures:
    """Render samples 0..samples in a fresh process on one thread; the first is timed by itself.

    Raises RenderError if the process ends without its figures; its own message goes to stderr.
    """
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "nanostream.bench.render", str(samples), str(seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | _ONE_THREAD,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(recipe.dump())
        child.stdin.close()
        first = child.stdout.readline()
        first_seconds = time.perf_counter() - start
        rest = child.stdout.readline()
    if child.returncode != 0 or not first or not rest:
        msg = (
            f"expected figures for {samples} samples, but the rendering process ended with code "
            f"{child.returncode}: run `nanostream doctor`"
        )
        raise RenderError(msg)
    return RenderFigures(first_sample_seconds=first_seconds, **json.loads(first), **json.loads(rest))


def _render_all(recipe_json: str, samples: int, seed: int, out: TextIO) -> None:
    """Print a line of JSON after the first sample, and one after the last."""
    from nanostream.recipe import Recipe
    from nanostream.synth import Synth

    synth = Synth(Recipe.parse(recipe_json))
    height, width = synth.render(seed=seed, index=0).mask.shape
    print(json.dumps({"backend": synth.backend, "height": height, "width": width}), file=out, flush=True)
    wall, cpu = time.perf_counter(), time.process_time()
    for index in range(1, samples + 1):
        synth.render(seed=seed, index=index)
    figures = {
        "samples": samples,
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
    }
    print(json.dumps(figures), file=out, flush=True)


if __name__ == "__main__":
    _render_all(sys.stdin.read(), int(sys.argv[1]), int(sys.argv[2]), sys.stdout)
