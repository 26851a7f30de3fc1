"""What endless fresh samples are worth to a segmentation network, and what segmenting a picture costs.

    python benchmarks/segmentation.py study --evaluate PICTURES   # hours on two quiet cores; goes on where it stopped
    python benchmarks/segmentation.py picture --model model.safetensors   # seconds and memory for 1024 x 768
    python benchmarks/segmentation.py large --model model.safetensors     # seconds and memory for 16,000 x 16,000
    python benchmarks/segmentation.py sheet -o sheet.png          # spheres and wires: predictions and their F1

study trains a network for each arm and seed, always for the same number of steps, and scores it on PICTURES (images/
and masks/ of equal names):
  fresh          the recipe, no sample twice
  fixed-N        the recipe's first N samples over and over; where a training takes no more than N, it is fresh's
  imported       the numbers of the published generator alone: base colours, sheen and roughness
  flat           grey diffuse surfaces that nobody learned
  sizes-30 +30   the recipe with the median size wrong by 30 %
  otsu           no network: Otsu's threshold with a distance watershed
--steps and --seeds scale it; results are added to a JSON file as they come, and printed as a table with the mean and
the standard deviation over the seeds.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
import tyro

from nanostream.files import write_json
from nanostream.recipe import Recipe
from nanostream.segment.baseline import otsu_watershed
from nanostream.segment.cores import cores
from nanostream.segment.demo import prediction_sheet
from nanostream.segment.evaluation import evaluate
from nanostream.segment.live import LiveLine
from nanostream.segment.metrics import score
from nanostream.segment.pictures import read_validation
from nanostream.segment.run import train_on_recipe
from nanostream.segment.training import TrainingConfig, train
from nanostream.sheet import save_sheet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanostream.segment.metrics import Scores
    from nanostream.segment.pictures import AnnotatedPicture

FIXED = (100, 1000, 10_000)
ARMS = ("fresh", *(f"fixed-{count}" for count in FIXED), "imported", "flat", "sizes-30", "sizes+30", "otsu")
SHOWN = ("dice", "f1", "ap50", "pq", "median_diameter_error")
SCALED = ("median_nm", "min_nm", "max_nm")
"""Fields of a size distribution that grow with it."""

IMPORTED: dict[str, Any] = {
    "kind": "distribution",
    "particle": {
        "base_color": {"mean": 1.144, "sd": 0.388, "low": 0.6, "high": 5.0},
        "roughness": {"mean": 0.8, "sd": 0.3, "low": 0.01, "high": 1.0},
        "sheen": {"mean": 4.567, "sd": 0.345, "low": 0.01, "high": 5.0},
    },
    "ground": {"base_color": {"mean": 0.245, "sd": 0.102, "low": 0.01, "high": 0.4}},
    "source": "mean and deviation over 2,000 placements of the published TiO2 (SEM) generator of DiffRenderGAN",
}
FLAT: dict[str, Any] = {
    "kind": "distribution",
    "particle": {"base_color": {"mean": 1.0, "sd": 0.2, "low": 0.5}, "ambient": {"mean": 0.5}},
    "ground": {"base_color": {"mean": 0.25, "sd": 0.1, "low": 0.05}, "ambient": {"mean": 0.5}},
    "source": "nothing learned",
}
DETECTOR: dict[str, Any] = {
    "blur_px": {"mean": 0.75, "sd": 0.15, "low": 0.3},
    "gain": {"mean": 0.33, "sd": 0.05, "low": 0.2},
    "shot_noise": {"mean": 0.0006, "sd": 0.0002, "low": 0.0001},
    "read_noise": {"mean": 0.004, "sd": 0.002, "low": 0.0},
}
"""For textures that bring none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """Compare fresh with fixed samples, textures, and size priors."""

    evaluate: Path
    """Folder with images/ and masks/ of equal names."""
    recipe: str = "tio2-sem"
    """Preset, or recipe file."""
    steps: int = 4000
    """Steps of each training."""
    seeds: int = 3
    """Trainings an arm."""
    arms: tuple[str, ...] = ARMS
    """Which of them to run."""
    rows: int | None = None
    """Rows to keep of each picture; by default those above a footer."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("study.json")
    """JSON file of the results; arms and seeds that it holds are not run again."""
    workers: int = 0
    """Render workers; 0 takes half the cores."""
    settings: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(name="set")] = ()
    """A field of the recipe to change."""

    def run(self) -> None:
        """Train, score, write and print."""
        unknown = set(self.arms) - set(ARMS)
        if unknown:
            sys.exit(f"expected arms out of {', '.join(ARMS)}, got {', '.join(sorted(unknown))}")
        recipe = Recipe.named(self.recipe).replaced(*self.settings)
        pictures = list(read_validation(self.evaluate, rows=self.rows))
        about = {"recipe": recipe.hash, "steps": self.steps, "pictures": [picture.name for picture in pictures]}
        found = json.loads(self.out.read_text()) if self.out.exists() else {"about": about, "runs": {}}
        if found["about"] != about:
            sys.exit(f"{self.out} holds another study, {found['about']}: choose another -o")
        for seed, arm in itertools.product(range(self.seeds), self.arms):
            name = f"{arm} {seed}"
            if name in found["runs"] or (arm == "otsu" and seed):
                continue
            known = found["runs"].get(f"{self._same_as(arm)} {seed}")
            begun = time.perf_counter()
            scores = known or self._scores(arm, recipe, seed=seed, pictures=pictures).as_dict()
            found["runs"][name] = {"seconds": time.perf_counter() - begun} | scores
            write_json(self.out, found)
            print(f"{name}: {json.dumps({key: found['runs'][name][key] for key in SHOWN})}", flush=True)
        print(table(found["runs"], self.arms))

    def _same_as(self, arm: str) -> str:
        """The arm whose training this one is: a set that does not come round is a stream."""
        config = TrainingConfig(steps=self.steps)
        taken = config.start + self.steps * config.batch / config.crops_per_sample
        return "fresh" if arm.startswith("fixed-") and int(arm.removeprefix("fixed-")) >= taken else arm

    def _scores(self, arm: str, recipe: Recipe, *, seed: int, pictures: list[AnnotatedPicture]) -> Scores:
        if arm == "otsu":
            return score((otsu_watershed(picture.image), picture.labels) for picture in pictures)
        config = TrainingConfig(steps=self.steps, seed=seed)
        with LiveLine(f"{arm} {seed}") as live:
            if arm.startswith("fixed-"):
                config = dataclasses.replace(config, threads=cores())
                count = int(arm.removeprefix("fixed-"))
                model, _ = train(fixed(recipe, count=count, seed=seed, workers=self.workers), config, on_progress=live)
            else:
                workers = self.workers or None
                model = train_on_recipe(varied(recipe, arm), config, workers=workers, fresh=1, on_progress=live).model
        return evaluate(model, pictures)


def varied(recipe: Recipe, arm: str) -> Recipe:
    """The recipe of an arm."""
    values = json.loads(recipe.dump())
    if arm in {"imported", "flat"}:
        if values["texture"]["kind"] == "learned":
            values["detector"] = DETECTOR
        values["texture"] = IMPORTED if arm == "imported" else FLAT
    elif arm.startswith("sizes"):
        factor = 0.7 if arm == "sizes-30" else 1.3
        scale(values["scene"]["sizes"], factor)
    return Recipe.parse(json.dumps(values))


def scale(sizes: dict[str, Any], factor: float) -> None:
    """Multiply every length of a size distribution, in place."""
    for name, value in sizes.items():
        if isinstance(value, dict):
            scale(value, factor)
        elif name in SCALED and value is not None:
            sizes[name] = value * factor


def fixed(recipe: Recipe, *, count: int, seed: int, workers: int) -> Iterator[dict[str, Any]]:
    """Batches of 4 out of the stream's first `count` samples without end: as they come at first, then shuffled.

    No more of them are rendered than are asked for.
    """
    from nanostream.dataset import StreamingDataset

    workers = workers or max(1, cores() // 2)
    engine = {"engine": "ray", "workers": workers} if workers > 1 else {"engine": "local"}
    kept = []
    with StreamingDataset(recipe, seed=seed, batch_size=4, length=count, **engine) as stream:
        for batch in stream:
            kept.append(((batch["image"] * 255).round().to(torch.uint8), batch["mask"].to(torch.int16)))
            yield batch
    images, masks = (torch.cat(parts) for parts in zip(*kept, strict=True))
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(count)
        for start in range(0, count, 4):
            some = torch.from_numpy(order[start : start + 4])
            yield {"image": images[some].float() / 255, "mask": masks[some].int()}


def table(runs: dict[str, dict[str, Any]], arms: tuple[str, ...]) -> str:
    """Mean and standard deviation over the seeds, a line an arm, and Dice against `fresh` in points."""
    lines = [
        "| arm | Dice | F1 | AP50 | PQ | median diameter | Dice against fresh, points | trainings |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    means: dict[str, float] = {}
    for arm in arms:
        some = [run for name, run in runs.items() if name.rpartition(" ")[0] == arm]
        if not some:
            continue
        cells = []
        for key in SHOWN:
            values = [float("nan") if run[key] is None else run[key] for run in some]
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.3f}{spread}")
        means[arm] = statistics.mean(run["dice"] for run in some)
        points = f"{100 * (means[arm] - means['fresh']):+.2f}" if "fresh" in means else ""
        lines.append(f"| {arm} | {' | '.join(cells)} | {points} | {0 if arm == 'otsu' else len(some)} |")
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnePicture:
    """Seconds and memory for one picture of 1024 x 768, read, segmented, measured and written."""

    model: Path
    """Model file."""
    height: int = 768
    width: int = 1024
    repeats: int = 5
    flips: bool = False

    def run(self) -> None:
        """Measure in a process of its own."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            picture = mosaic(folder / "picture.tif", height=self.height, width=self.width)
            words = ["-c", IN_PROCESS, str(self.model), str(picture), str(folder / "out"), str(self.repeats)]
            words.append("1" if self.flips else "")
            said = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True).stdout
        print(f"{self.width} x {self.height}: {said.strip()}, {torch.get_num_threads()} threads")


IN_PROCESS = """
import resource, statistics, sys, time
from pathlib import Path
from nanostream.segment.batch import segment_pictures
from nanostream.segment.model import load_model
begun = time.perf_counter()
model = load_model(sys.argv[1])
loaded = time.perf_counter() - begun
times = []
for k in range(int(sys.argv[4])):
    begun = time.perf_counter()
    out = Path(sys.argv[3]) / str(k)
    batch = segment_pictures(model, [Path(sys.argv[2])], out, pixel_nm=5.0, flips=bool(sys.argv[5]))
    times.append(time.perf_counter() - begun)
found = len(batch.pictures[0].table["label"])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"median {statistics.median(times):.2f} s (first {times[0]:.2f} s, model loaded in {loaded:.2f} s), "
      f"{found} particles, peak {peak:.0f} MB")
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Large:
    """Seconds and memory for one large picture, by the command as users run it."""

    model: Path
    """Model file."""
    edge: int = 16_000
    folder: Path | None = None
    """Where to write the picture and the results; by default a folder that is deleted."""

    def run(self) -> None:
        """Make the picture, run the command, read the operating system's figure for its memory."""
        with tempfile.TemporaryDirectory() as name:
            folder = self.folder or Path(name)
            picture = mosaic(folder / "large.tif", height=self.edge, width=self.edge)
            words = ["segment", str(self.model), str(picture), "-o", str(folder / "out"), "--pixel-nm", "5"]
            begun = time.perf_counter()
            command = [sys.executable, "-c", "import sys; from nanostream.cli import main; sys.exit(main())", *words]
            subprocess.run(command, check=True)
            seconds = time.perf_counter() - begun
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"{self.edge} x {self.edge}: {seconds:.0f} s, peak {peak:.0f} MB, {os.cpu_count()} cores")


def mosaic(path: Path, *, height: int, width: int) -> Path:
    """A picture of that size out of rendered samples that repeat, as an 8-bit TIFF."""
    import tifffile

    from nanostream.synth import Synth

    recipe = Recipe.preset("tio2-sem")
    synth = Synth(recipe)
    samples = np.concatenate([synth.render(seed=0, index=index).image for index in range(16)], axis=1)
    strip = np.tile(samples, (1, -(-width // samples.shape[1])))[:, :width]
    image = np.empty((height, width), np.uint8)
    for top in range(0, height, len(strip)):
        rows = min(len(strip), height - top)
        # Shifted from strip to strip, so that the picture does not repeat along both axes at once.
        image[top : top + rows] = np.roll(strip, 997 * top, axis=1)[:rows]
    tifffile.imwrite(path, image)
    return path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sheet:
    """Train on spheres and on wires, and draw predictions on fresh samples."""

    recipes: tuple[str, ...] = ("sio2-him", "agnw-sem")
    minutes: float = 10.0
    """Of each training."""
    steps: int | None = None
    """Instead of minutes."""
    shown: int = 4
    """Samples of each recipe."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("sheet.png")
    workers: int = 0
    settings: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(name="set")] = ()
    """A field of the recipes to change."""

    def run(self) -> None:
        """Train, draw, and print the F1 of each."""
        parts = []
        config = TrainingConfig(minutes=self.minutes, steps=self.steps)
        for name in self.recipes:
            recipe = Recipe.named(name).replaced(*self.settings)
            with LiveLine(name) as live:
                run = train_on_recipe(recipe, config, workers=self.workers or None, on_progress=live)
            scores = run.fresh_scores
            print(
                f"{name}: F1 {scores.f1:.3f}, Dice {scores.dice:.3f}, PQ {scores.pq:.3f} on {scores.pictures} fresh "
                f"samples after {run.progress.step} steps in {run.progress.seconds / 60:.1f} minutes",
                flush=True,
            )
            parts.append(prediction_sheet(run, run.fresh[: self.shown]))
        save_sheet(self.out, np.concatenate(parts))
        print(f"The sheet is {self.out}.")


def main(words: list[str] | None = None) -> None:
    """Run one part."""
    parts = {"study": Study, "picture": OnePicture, "large": Large, "sheet": Sheet}
    tyro.extras.subcommand_cli_from_dict(parts, args=words, config=(tyro.conf.FlagCreatePairsOff,)).run()


if __name__ == "__main__":
    main()
