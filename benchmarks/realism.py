"""How real rendered TiO2 (SEM) pictures are: the published generator, the preset, and any recipe.

    python benchmarks/realism.py                      # published and tio2-sem, about 15 minutes on a quiet core
    python benchmarks/realism.py mine.json other.json # these beside the published one
    python benchmarks/realism.py --real FOLDER --crop 704 --no-network mine.json

The real pictures are the 8 of bam_tio2_sem/validation, which nothing is fitted to, and then the 20 of unannotated/,
both above row 704. `nanostream.gan.realism` says what each measure means. `excess` is a value less its floor, and
`of published` that excess over the published generator's.

The published generator renders its own scene, with the thresholds of its own test script (15 % of the picture free
of particles, particles 1.15 times brighter than the ground), 256x256 pixels and 121 rays a pixel. Nothing is resampled
for scale: its scenes are unitless and were matched to patches of these micrographs at their full resolution, which the
median diameters at the end confirm.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import rich
import rich.progress

from nanostream.gan.realism import MEASURES, Realism, measure
from nanostream.micrograph import read_micrographs
from nanostream.recipe import Picture, Recipe
from nanostream.scene.published import PublishedSceneConfig, read_mesh_sets
from nanostream.segment.pictures import read_validation
from nanostream.synth import Synth
from nanostream.texture.checkpoint import save_checkpoint
from nanostream.texture.generator import GeneratorTexture
from nanostream.texture.published import read_published

if TYPE_CHECKING:
    import numpy.typing as npt

    from nanostream.sample import Sample

DATA = pathlib.Path(
    os.environ.get("NANOSTREAM_SHARED_DATA", pathlib.Path(__file__).resolve().parents[2] / "shared" / "data")
)
MICROGRAPHS = DATA / "bam_tio2_sem"
ROWS, PIXEL_NM = 704, 7.344
GENERATOR = "Ruehle2021TiO2_paper"
SMALLEST_PX = 50


def published_recipe(folder: pathlib.Path) -> Recipe:
    """The published TiO2 (SEM) generator with its own scene and thresholds; its texture file is put into `folder`."""
    data = DATA / "diffrendergan"
    checkpoint = read_published(*(data / "checkpoints" / f"{GENERATOR}{end}" for end in (".pth", ".json")))
    texture = folder / "published.safetensors"
    save_checkpoint(checkpoint, texture)
    spec = checkpoint.spec
    return Recipe(
        name="published",
        picture=Picture(pixel_nm=PIXEL_NM),
        scene=PublishedSceneConfig(
            folder=data / "meshes",
            meshes=read_mesh_sets(data / "meshes.json")[spec.mesh_set],
            placement=spec.placement,
            optics=spec.optics,
            min_background=0.15,
            min_contrast=1.15,
        ),
        texture=GeneratorTexture(file=texture),
    )


def rendered(recipe: Recipe, count: int, seed: int) -> list[Sample]:
    """Samples 0..count-1."""
    synth = Synth(recipe)
    steps = rich.progress.track(range(count), f"rendering {recipe.name}", disable=not sys.stderr.isatty())
    return [synth.render(seed=seed, index=index) for index in steps]


def diameters(masks: list[npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
    """Area-equivalent diameters in pixels of the instances that have at least 50."""
    areas = np.concatenate([np.bincount(mask.ravel())[1:] for mask in masks])
    return np.sqrt(4 * areas[areas >= SMALLEST_PX] / np.pi)


def show(title: str, results: dict[str, Realism]) -> None:
    """A row for each measure and set, with its excess as a share of the published one."""
    print(f"\n{title}")
    print(f"{'measure':26}{'pictures':22}{'value':>16}{'floor':>16}{'excess':>9}{'of published':>14}")
    baseline = results["published"].measures
    for name, (label, _) in MEASURES.items():
        for who, realism in results.items():
            if name not in realism.measures:
                continue
            each, excess = realism.measures[name], baseline[name].excess
            value, floor = f"{each.value:.3f} ± {each.spread:.3f}", f"{each.floor:.3f} ± {each.floor_spread:.3f}"
            share = f"{each.excess / excess:.2f}" if excess > 0 else "-"
            print(f"{label:26}{who:22}{value:>16}{floor:>16}{each.excess:>9.3f}{share:>14}")
    print(f"{'score (distances/floors)':26}" + "  ".join(f"{who} {each.score:.2f}" for who, each in results.items()))


def main() -> None:
    """Render, measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=["tio2-sem"], help="presets or recipe files")
    parser.add_argument("--real", type=pathlib.Path, action="append", help="folders of pictures to measure against")
    parser.add_argument("--crop", type=int, default=ROWS, help="rows to keep of the real pictures")
    parser.add_argument("--count", type=int, default=64, help="rendered pictures of each recipe")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-network", action="store_true", help="leave the two-sample test out")
    parser.add_argument("--json", type=pathlib.Path, help="file to write the numbers to")
    options = parser.parse_args()
    unseen, known = MICROGRAPHS / "validation" / "images", MICROGRAPHS / "unannotated"
    folders = options.real or [unseen, known]
    real = {folder: [each.pixels for each in read_micrographs(folder, crop=options.crop)] for folder in folders}
    with tempfile.TemporaryDirectory() as scratch:
        recipes = [published_recipe(pathlib.Path(scratch)), *(Recipe.named(name) for name in options.recipes)]
        samples: dict[str, list[Sample]] = {}
        for name, recipe in zip(("published", *options.recipes), recipes, strict=True):
            begun = time.process_time()
            samples[name] = rendered(recipe, options.count, options.seed)
            print(f"{name}: {options.count} samples in {time.process_time() - begun:.0f} s of processor time")
    numbers: dict[str, Any] = {}
    for folder, pictures in real.items():
        sets = {name: [sample.image for sample in each] for name, each in samples.items()}
        for other in folders:
            if other != folder:
                sets[f"real, {other.parent.name if other.name == 'images' else other.name}"] = real[other]
        results = {
            name: measure(pictures, each, seed=options.seed, two_sample=not options.no_network)
            for name, each in sets.items()
        }
        show(f"against the {len(pictures)} real pictures in {folder}", results)
        numbers[str(folder)] = {name: each.as_dict() for name, each in results.items()}
    print("\nmedian diameter in pixels, and share of the picture that particles cover")
    masks = {name: [np.asarray(sample.mask) for sample in each] for name, each in samples.items()}
    if not options.real:
        masks["annotated (validation)"] = [each.labels for each in read_validation(unseen.parent, rows=options.crop)]
    for name, each in masks.items():
        print(f"{name:26}{np.median(diameters(each)):8.1f}{np.mean([(mask > 0).mean() for mask in each]):9.3f}")
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
