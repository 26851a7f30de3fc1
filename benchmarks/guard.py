"""Ratios that must not get worse, beside the committed ones in ratios.json.

    python benchmarks/guard.py            # a minute; exits with 1 where one is past its margin
    python benchmarks/guard.py --write    # take what is measured now as what is to be kept; margins stay

Each ratio is of figures that took turns in one process, of processor time where one process does the work, so that
another machine and other work on this one change it little. What is past its margin is measured again, twice at most:
a regression stays. tests/test_bench_guard.py runs the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import pathlib
import statistics
import sys
import tempfile
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from nanostream.bench.simulate import simulate
from nanostream.bench.simulate_nodes import Scenario
from nanostream.export import write
from nanostream.formats.encoded import Encoded
from nanostream.formats.sinks import encoder
from nanostream.formats.webdataset_reader import ShardReader
from nanostream.formats.zarr_reader import ZarrReader
from nanostream.recipe import Recipe
from nanostream.synth import Synth

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanostream.sample import Sample

FILE = pathlib.Path(__file__).with_name("ratios.json")
TRIES = 3
PASSES = 5
COUNT = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """A committed ratio. margin: share of it by which a new one may be worse. higher: whether more is better."""

    what: str
    ratio: float
    margin: float
    higher: bool

    @property
    def bound(self) -> float:
        """What a new one must reach, or stay below."""
        return self.ratio * (1 - self.margin if self.higher else 1 + self.margin)

    def holds(self, ratio: float) -> bool:
        """Whether a new one is within the margin."""
        return ratio >= self.bound if self.higher else ratio <= self.bound


def read() -> dict[str, Kept]:
    """The committed ratios."""
    return {name: Kept(**fields) for name, fields in json.loads(FILE.read_text(encoding="utf-8")).items()}


def turns(ways: dict[str, Callable[[], object]], passes: int = PASSES) -> dict[str, float]:
    """Median processor time of each, taking turns; the first round does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(passes + 1):
        for name, way in ways.items():
            began = time.process_time()
            way()
            if number:
                seconds[name].append(time.process_time() - began)
    return {name: statistics.median(some) for name, some in seconds.items()}


@functools.cache
def rendered() -> tuple[Synth, list[Sample]]:
    """A renderer, and what it rendered."""
    synth = Synth(Recipe.preset("tio2-sem"))
    return synth, [synth.render(seed=0, index=index) for index in range(COUNT)]


def general_over_own() -> float:
    """Time of a pair by Mitsuba's general integrators, 16 samples a pixel, over a sample's here."""
    from peers_renderers import MitsubaRenderer

    synth, _ = rendered()
    mitsuba = MitsubaRenderer("tio2-sem", seed=0)
    some = range(4)
    took = turns(
        {
            "mitsuba": lambda: [mitsuba(index) for index in some],
            "own": lambda: [synth.render(seed=0, index=index) for index in some],
        },
        3,
    )
    return took["mitsuba"] / took["own"]


def encoding_over_rendering(form: str) -> float:
    """Time to compress a sample over the time to render it."""
    synth, samples = rendered()
    encode = encoder(form)
    took = turns(
        {
            "encode": lambda: [Encoded.of(sample, encode) for sample in samples],
            "render": lambda: [synth.render(seed=0, index=index) for index in range(COUNT)],
        }
    )
    return took["encode"] / took["render"]


def _stored(form: str, folder: pathlib.Path) -> pathlib.Path:
    _, samples = rendered()
    recipe = Recipe.preset("tio2-sem").model_dump(mode="json")
    write(samples, recipe=recipe, format=form, count=COUNT, out=folder / form)
    return folder / form


def webdataset_over_reader() -> float:
    """Time of webdataset's own pipeline over that of ShardReader, which also gives metadata."""
    import webdataset

    with tempfile.TemporaryDirectory() as name:
        folder = _stored("webdataset", pathlib.Path(name))
        shards = sorted(map(str, folder.glob("*.tar")))
        took = turns(
            {
                "theirs": lambda: list(webdataset.WebDataset(shards, shardshuffle=False).decode("l8")),
                "ours": lambda: list(ShardReader(folder).samples(range(COUNT))),
            }
        )
    return took["theirs"] / took["ours"]


def zarr_over_reader() -> float:
    """Time of one call of zarr a sample in random order over that of ZarrReader."""
    import zarr

    order = np.random.default_rng(0).permutation(COUNT).tolist()
    with tempfile.TemporaryDirectory() as name:
        folder = _stored("zarr", pathlib.Path(name))
        root: Any = zarr.open_group(folder, mode="r")
        reader = ZarrReader(folder)
        took = turns(
            {
                "theirs": lambda: [(root["image"][row], root["mask"][row]) for row in order],
                "ours": lambda: [next(reader.samples([row], meta=False)) for row in order],
            }
        )
    return took["theirs"] / took["ours"]


def raw_over_stored() -> float:
    """Bytes of images and masks over those of the shards that hold them."""
    _, samples = rendered()
    with tempfile.TemporaryDirectory() as name:
        folder = _stored("webdataset", pathlib.Path(name))
        stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return sum(sample.nbytes for sample in samples) / stored


def engine_efficiency() -> float:
    """Share of 64 simulated workers' time that becomes samples, with the engine's own processor time taken off."""
    from stream import simulated

    return statistics.median(simulated(64, rounds=60)[1] for _ in range(PASSES))


def losses_efficiency() -> float:
    """The same of 20 nodes of which one is lost every 20 s, without time of this machine."""
    return simulate(Scenario(nodes=20, seconds=60.0, loss_every_seconds=20.0).even).efficiency


def order_over_bare_loop() -> float:
    """Samples/s in order over those of a bare loop over the same two actors, at 2 ms a sample."""
    from stream import LARGE, compare

    from nanostream.stream.ray import RayEngine
    from nanostream.testing import FakeSynth

    with RayEngine(LARGE, workers=2, synth=functools.partial(FakeSynth, seconds=0.002)) as engine:
        return compare(engine, 400, PASSES, listen=True)[2]


RATIOS: dict[str, Callable[[], float]] = {
    "general_over_own": general_over_own,
    "webdataset_encoding_over_rendering": functools.partial(encoding_over_rendering, "webdataset"),
    "zarr_encoding_over_rendering": functools.partial(encoding_over_rendering, "zarr"),
    "webdataset_over_reader": webdataset_over_reader,
    "zarr_over_reader": zarr_over_reader,
    "raw_over_stored": raw_over_stored,
    "engine_efficiency": engine_efficiency,
    "losses_efficiency": losses_efficiency,
    "order_over_bare_loop": order_over_bare_loop,
}


def check(name: str, kept: Kept) -> tuple[float, bool]:
    """The ratio as it is now, and whether it is within the margin; the best of three where the first is not."""
    with warnings.catch_warnings():
        # Of what is compared with.
        warnings.simplefilter("ignore")
        best = RATIOS[name]()
        for _ in range(TRIES - 1):
            if kept.holds(best):
                break
            best = (max if kept.higher else min)(best, RATIOS[name]())
    return best, kept.holds(best)


def main() -> int:
    """Measure all and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    words = parser.parse_args()
    warnings.simplefilter("ignore")
    kept, good = read(), True
    print("| ratio | what | now | committed | bound | |\n|---|---|--:|--:|--:|---|")
    for name, one in kept.items():
        if words.write:
            now, holds = RATIOS[name](), True
            kept[name] = dataclasses.replace(one, ratio=float(f"{now:.3g}"))
        else:
            now, holds = check(name, one)
        good &= holds
        sign = "≥" if one.higher else "≤"
        bound = f"{sign} {one.bound:.3g}"
        print(f"| {name} | {one.what} | {now:.3g} | {one.ratio:.3g} | {bound} | {'holds' if holds else 'WORSE'} |")
    if words.write:
        content = {name: dataclasses.asdict(one) for name, one in kept.items()}
        FILE.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
