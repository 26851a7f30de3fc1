"""How large a pool has to be until a training waits no more for it than for a set on disk.

    python benchmarks/pools.py
    python benchmarks/pools.py --quick    # two sizes, about a minute

A training sleeps for as long as it would compute elsewhere, and takes 0.8 of what four workers render, at the rate
that one was measured to render at on this machine. Each render worker sleeps for as long as rendering takes, so that
a pool may be larger than this machine; leases, Ray, the order and the batches are the real ones. The fixed set is one
of rendered samples as WebDataset shards, read by the library's own loader for the same training, see peers.py.

training waits  median of five windows, and the least and the greatest
level           waits at most one per cent of its time more than for the fixed set
"""

from __future__ import annotations

import argparse
import functools
import pathlib
import statistics
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from chaos_workers import small_ray
from peers import RECIPE
from peers_child import run_child
from peers_loop import share_waited
from peers_prepare import prepare

from nanostream.bench.chart import lines
from nanostream.bench.render import measure_render
from nanostream.dataset import StreamingDataset
from nanostream.files import write_json, write_text
from nanostream.recipe import Recipe
from nanostream.stream.scale import Workers
from nanostream.testing import FakeSynth

if TYPE_CHECKING:
    from collections.abc import Sequence

ENOUGH, SHARE = 4, 0.8
"""Workers that render a little more than the training takes, and how much of it the training takes."""
SIZES, FEW_SIZES = (1, 2, 3, 4, 5, 6, 8), (2, 4)
LEVEL = 0.01
BATCH = 4


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float, help="of each pool; 15, or 4 where quick")
    parser.add_argument("--count", type=int, help="samples of the fixed set; 128, or 24 where quick")
    parser.add_argument("--workers", type=int, default=2, help="that render and read the fixed set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("report"))
    words = parser.parse_args()
    words.seconds = words.seconds or (4.0 if words.quick else 15.0)
    words.count = words.count or (24 if words.quick else 128)
    recipe = Recipe.preset(RECIPE)
    figures = measure_render(recipe, samples=20, seed=words.seed)
    render_seconds = figures.seconds / figures.samples
    train_rate = SHARE * ENOUGH / render_seconds
    fixed = waits_for_fixed(words, train_rate)
    sizes = FEW_SIZES if words.quick else SIZES
    pools = waits_for_pools(recipe, sizes, render_seconds=render_seconds, train_rate=train_rate, words=words)
    print(table(pools, fixed, render_seconds=render_seconds))
    level = next((size for size in sizes if statistics.median(pools[size]) <= statistics.median(fixed) + LEVEL), None)
    print(
        f"\n{RECIPE}: a sample renders in {1e3 * render_seconds:.0f} ms, training takes {train_rate:.1f} samples/s; "
        + (f"level with {level} workers." if level else f"not level with {sizes[-1]} workers.")
    )
    found = {"render_seconds": render_seconds, "train_rate": train_rate, "fixed": fixed, "pools": pools, "level": level}
    write_json(words.out / "pools.json", found)
    named = {"nanostream": [100 * statistics.median(pools[size]) for size in sizes]}
    named["fixed set"] = [100 * statistics.median(fixed)] * len(sizes)
    plot = lines([float(size) for size in sizes], named, title="Training waits, per cent", x_label="workers")
    write_text(words.out / "pools.svg", plot)
    return 0


def waits_for_fixed(words: argparse.Namespace, train_rate: float) -> list[float]:
    """Shares of its time that the training waits for a set on disk."""
    with tempfile.TemporaryDirectory(prefix="ns-pools-", dir="/tmp", ignore_cleanup_errors=True) as scratch:
        prepared = prepare(pathlib.Path(scratch), ["webdataset"], words, recipe=RECIPE)
        settings = {
            "peer": "peers_webdataset:WebDataset",
            "recipe": RECIPE,
            "folder": str(prepared.folder),
            "workers": words.workers,
            "batch_size": BATCH,
            "seconds": words.seconds,
            "train_rate": train_rate,
        }
        run = run_child(sys.executable, settings, limit_seconds=60 + 30 * words.seconds, again=False)
    if isinstance(run, str):
        sys.exit(f"the fixed set {run}")
    return run["waits"]


def waits_for_pools(
    recipe: Recipe, sizes: Sequence[int], *, render_seconds: float, train_rate: float, words: argparse.Namespace
) -> dict[int, list[float]]:
    """Shares of its time that the training waits for each size of pool."""
    found = {}
    synth = functools.partial(FakeSynth, seconds=render_seconds)
    with small_ray():
        for size in sizes:
            # They sleep, so more of them than there are CPUs are no slower.
            crew = Workers(size, size, num_cpus=0)
            with StreamingDataset(
                recipe, seed=words.seed, batch_size=BATCH, engine="ray", workers=crew, synth=synth
            ) as stream:
                batches = iter(stream)
                next(batches)
                # By then a pool that is large enough is ahead of the training.
                time.sleep(2 * BATCH * render_seconds)
                found[size], _ = share_waited(batches, train_seconds=BATCH / train_rate, seconds=words.seconds)
    return found


def table(pools: dict[int, list[float]], fixed: list[float], *, render_seconds: float) -> str:
    """A line a pool, and one for the fixed set."""
    rows = ["| pool | renders at most | training waits |", "|---|--:|--:|"]
    rows += [
        f"| {size} {'worker' if size == 1 else 'workers'} | {size / render_seconds:.1f} samples/s | {shares(waits)} |"
        for size, waits in pools.items()
    ]
    return "\n".join([*rows, f"| fixed set, WebDataset | | {shares(fixed)} |"])


def shares(waits: list[float]) -> str:
    """Median, least and greatest of shares, in per cent."""
    return f"{100 * statistics.median(waits):.1f} % ({100 * min(waits):.1f} to {100 * max(waits):.1f})"


if __name__ == "__main__":
    sys.exit(main())
