"""At what size of its pool nanostream keeps a training from waiting, beside fixed sets: part of peers.py.

The training takes what so many render workers can deliver that no single machine here has them: the workers of these
pools sleep for as long as rendering takes, and everything else is what it is with real ones.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING

from peers_child import started

from nanostream.recipe import Recipe
from nanostream.synth import Synth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from peers_prepare import Prepared

NEEDED = 3.2
"""Render workers whose samples the training takes."""
_SAMPLES = 20


def pools(
    prepared: Prepared, sets: Mapping[str, tuple[str, str, str]], sizes: Sequence[int], *, recipe: str, seconds: float
) -> str:
    """A line a pool and a fixed set. sets: name, class and interpreter of what reads each of them."""
    rendering = _render_seconds(recipe)
    common = {"recipe": recipe, "folder": str(prepared.folder), "train_rate": NEEDED / rendering, "seconds": seconds}
    asked = {
        f"nanostream, {size} workers": (sys.executable, {"peer": "peers_ours:Sleeping", "workers": size})
        for size in sizes
    }
    asked |= {title: (python, {"peer": peer}) for title, peer, python in sets.values()}
    lines = ["| | training waits |", "|---|--:|"]
    for title, (python, settings) in asked.items():
        said = started(python, common | {"render_seconds": rendering} | settings, limit_seconds=60 + 30 * seconds)
        lines.append(f"| {title} | {said if isinstance(said, str) else _percent(said['waited'])} |")
    return "\n".join(lines) + (
        f"\n\nTraining takes {NEEDED / rendering:.1f} samples/s, as {NEEDED:g} workers render them in "
        f"{1e3 * rendering:.0f} ms each; these workers sleep as long instead."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _render_seconds(recipe: str) -> float:
    synth, taken = Synth(Recipe.named(recipe)), []
    for index in range(_SAMPLES):
        began = time.perf_counter()
        synth.render(seed=0, index=index)
        taken.append(time.perf_counter() - began)
    # The first compiles kernels.
    return statistics.fmean(taken[1:])
