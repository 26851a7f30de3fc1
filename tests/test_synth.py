"""Samples: pure, well formed, and refused where they cannot be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import psutil
import pytest

from nanostream.errors import NanostreamError, SampleIndexError
from nanostream.recipe import Recipe, preset_names
from nanostream.sample import PARTICLE_COLUMNS
from nanostream.seeding import MAX_INDEX, Purpose, generator
from nanostream.synth import Synth, render

if TYPE_CHECKING:
    import pathlib


@pytest.mark.parametrize("name", preset_names())
def test_samples_are_well_formed(name: str) -> None:
    """Types, sizes, labels without gaps, a table that agrees with the mask, and metadata that is plain JSON."""
    recipe = Recipe.preset(name).replaced("picture.height=120")
    for index in range(6):
        sample = render(recipe, index, seed=4)
        assert sample.image.dtype == np.uint8
        assert sample.mask.dtype == np.uint16
        assert sample.image.shape == sample.mask.shape == (120, 256)
        count = int(sample.mask.max())
        particles = sample.meta["particles"]
        assert list(particles) == list(PARTICLE_COLUMNS)
        assert particles["label"] == list(range(1, count + 1))
        assert particles["visible_px"] == np.bincount(sample.mask.ravel(), minlength=count + 1)[1:].tolist()
        assert all(0 <= share < 1 for share in particles["hidden_fraction"])
        assert json.loads(json.dumps(sample.meta, allow_nan=False)) == sample.meta
        if count:
            assert sample.image[sample.mask > 0].mean() != pytest.approx(sample.image[sample.mask == 0].mean(), abs=1)


def test_particles_that_touch_the_border_are_cut() -> None:
    """`cut` is true of every particle with a pixel on the border that goes on beyond it."""
    recipe = Recipe.preset("tio2-sem")
    for index in range(6):
        sample = render(recipe, index)
        border = np.unique(np.concatenate([sample.mask[0], sample.mask[-1], sample.mask[:, 0], sample.mask[:, -1]]))
        cut = {
            label
            for label, is_cut in zip(*[sample.meta["particles"][k] for k in ("label", "cut")], strict=True)
            if is_cut
        }
        # A particle may end within half a pixel of the border.
        assert len(set(border[border > 0].tolist()) - cut) <= 1


@pytest.mark.parametrize(
    ("name", "value"), [("index", -1), ("index", MAX_INDEX + 1), ("index", 1.5), ("seed", -1), ("seed", True)]
)
def test_index_and_seed_have_a_range(name: str, value: Any) -> None:
    """An index or seed that is no whole number from 0 to 2^53 raises SampleIndexError and says so."""
    with pytest.raises(SampleIndexError, match=rf"expected {name} to be a whole number from 0 to 2\^53, got {value}"):
        render(Recipe.preset("tio2-sem"), **{"index": 0, "seed": 0, name: value})
    assert issubclass(SampleIndexError, NanostreamError)


def test_the_last_index_renders() -> None:
    """2^53 is an index like any other."""
    recipe = Recipe.preset("tio2-sem").replaced("picture.height=32", "picture.width=32")
    assert render(recipe, MAX_INDEX).index == MAX_INDEX


@hypothesis.given(
    seed=st.integers(0, MAX_INDEX - 1), index=st.integers(0, MAX_INDEX - 1), purpose=st.sampled_from(list(Purpose))
)
def test_random_numbers_are_a_function_of_seed_index_and_purpose(seed: int, index: int, purpose: Purpose) -> None:
    """The same three give the same numbers, and a neighbour in any of them gives others."""
    numbers = generator(seed, index, purpose).random(4).tolist()
    assert generator(seed, index, purpose).random(4).tolist() == numbers
    for other in (
        generator(seed ^ 1, index, purpose),
        generator(seed, index ^ 1, purpose),
        generator(seed, index, next(other for other in Purpose if other != purpose)),
    ):
        assert not set(other.random(4)) & set(numbers)


@pytest.mark.parametrize("name", ["tio2-sem", "agnw-sem"])
def test_samples_in_flight_together_are_those_of_one_at_a_time(name: str) -> None:
    """`render_many` gives the bytes of `render`, in the order asked for, whatever number is in flight."""
    recipe = Recipe.preset(name).replaced("picture.height=96", "picture.width=128")
    synth, indices = Synth(recipe), [7, 0, 3, 3, 12, 5, 1]
    alone = [synth.render(seed=2, index=index) for index in indices]
    for together in (1, 3, 8):
        many = list(Synth(recipe).render_many(seed=2, indices=indices, together=together))
        assert [sample.index for sample in many] == indices
        for one, other in zip(alone, many, strict=True):
            assert one.image.tobytes() == other.image.tobytes()
            assert one.mask.tobytes() == other.mask.tobytes()
            assert one.meta == other.meta


THREADS = """
import hashlib, sys
from nanostream.recipe import Recipe
from nanostream.synth import Synth
synth = Synth(Recipe.preset("tio2-sem").replaced("picture.height=128"))
import drjit as dr
dr.set_thread_count(int(sys.argv[1]))
digest = hashlib.sha256()
for index in range(4):
    sample = synth.render(seed=5, index=index)
    digest.update(sample.image.tobytes() + sample.mask.tobytes() + repr(sample.meta).encode())
print(digest.hexdigest())
"""


def test_bytes_are_the_same_in_any_process_with_any_number_of_threads() -> None:
    """Two processes with one thread and one with three give the same images, masks and metadata."""
    digests = [
        subprocess.run(
            [sys.executable, "-c", THREADS, threads], capture_output=True, text=True, check=True, timeout=120
        ).stdout
        for threads in ("1", "1", "3")
    ]
    assert len(set(digests)) == 1
    assert len(digests[0]) == 65


def test_total_noise_is_the_detectors_at_every_grey_level() -> None:
    """Against a converged picture, a sample is as noisy as the detector alone is, within a tenth at every level.

    What the few samples a pixel leave counts towards the detector's noise; without that it would be more.
    """
    held = {"blur_px": 0.6, "gain": 0.3, "gamma": 1.0, "offset": 0.0, "line_noise": 0.0}
    shot_noise, read_noise = 2e-3, 1e-2

    def noisy(*settings: str, **noise: float) -> Synth:
        fixed = f"texture.fixed={json.dumps(held | noise)}"
        preset = Recipe.preset("tio2-sem")
        return Synth(preset.replaced(fixed, "picture.height=128", "picture.width=128", *settings))

    many = [f"camera.{name}_samples={count}" for name, count in (("particle", 512), ("edge", 1024), ("ground", 128))]
    truth = noisy(*many, shot_noise=0.0, read_noise=0.0)
    noise = {"shot_noise": shot_noise, "read_noise": read_noise}
    sample = noisy(**noise)
    few = noisy("camera.particle_samples=8", "camera.edge_samples=16", "camera.ground_samples=2", **noise)
    levels = np.array([0.0, 0.1, 0.25, 0.45, 0.7, 0.9])
    for synth in (sample, few):
        off: list[list[float]] = [[] for _ in levels[1:]]
        for index in range(12):
            clean = truth.render(seed=1, index=index).image / 255
            left = synth.render(seed=1, index=index).image / 255 - clean
            sd = np.sqrt(shot_noise * clean + read_noise**2 + 2 / 12 / 255**2)
            for k, inside in enumerate(off):
                inside.extend((left / sd)[(clean > levels[k]) & (clean < levels[k + 1])].tolist())
        for inside in off:
            assert len(inside) > 500
            assert np.sqrt(np.mean(np.square(inside))) == pytest.approx(1, abs=0.1)


@pytest.mark.slow
def test_memory_does_not_grow() -> None:
    """The resident size after 1,000 samples is within 5 % of that after 100."""
    synth = Synth(Recipe.preset("tio2-sem").replaced("picture.height=64", "picture.width=64"))
    process = psutil.Process()
    sizes = {}
    for index in range(1001):
        synth.render(seed=1, index=index)
        sizes[index] = process.memory_info().rss
    assert sizes[1000] < 1.05 * sizes[100]


COUNT_KERNELS = """
from nanostream.recipe import Recipe
from nanostream.synth import Synth
recipes = [Recipe.preset("tio2-sem").replaced("picture.height=64", "picture.width=64")]
recipes.append(recipes[0].replaced('texture.fixed={"specular": 0.5, "gain": 0.5}'))
synths = [Synth(recipe) for recipe in recipes]
import drjit as dr
index = next(i for i in range(99) if synths[0].render(seed=0, index=i).mask.any())
with dr.scoped_set_flag(dr.JitFlag.KernelHistory, True):
    dr.kernel_history_clear()
    for index in range(100):
        synths[index % 2].render(seed=index % 3, index=index)
    print([kernel["cache_hit"] for kernel in dr.kernel_history([dr.KernelType.JIT])].count(False))
"""


@pytest.mark.slow
def test_no_kernel_is_compiled_after_the_first_sample(tmp_path: pathlib.Path) -> None:
    """Other seeds, particle counts and textures find the kernels of the first sample, from an empty kernel cache."""
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", COUNT_KERNELS], env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.split() == ["0"]


ONE_PIXEL = """
import numpy as np, trimesh
from nanostream.recipe import Recipe
from nanostream.render import backend
from nanostream.scene.ensemble import Ensemble
from nanostream.texture.surface import SurfaceTable
backend.start()
import drjit as dr
from nanostream.render.particles import ParticleRenderer, regions

def boxes(*sides):
    solids = [trimesh.creation.box(bounds=[[low, low, 0], [high, high, 1]]) for low, high in sides]
    count, owner = len(solids), np.repeat(np.arange(len(solids), dtype=np.int32), 12)
    return Ensemble(
        vertices=np.concatenate([one.vertices for one in solids]).astype(np.float32),
        normals=np.concatenate([one.vertex_normals for one in solids]).astype(np.float32),
        faces=np.concatenate([one.faces + 8 * number for number, one in enumerate(solids)]).astype(np.uint32),
        particle=owner,
        vertex_particle=np.repeat(np.arange(count, dtype=np.int32), 8),
        center_nm=np.array([one.centroid for one in solids]),
        **{name: np.ones(count) for name in ("diameter_nm", "length_nm", "aspect")},
    )

def picture(ensemble):
    renderer = ParticleRenderer(Recipe.preset("tio2-sem").camera, height=32, width=32, pixel_nm=1)
    rows = {name: np.full(1 + len(ensemble), 0.5, np.float32) for name in
        ("base_color", "roughness", "specular", "spec_tint", "sheen", "gain", "rim", "ambient")}
    renderer.load(ensemble)
    renderer.shade(SurfaceTable(**rows, rim_cap=2, rim_power=1, relief=np.ones((32, 32), np.float32)), seed=0)
    outline, light = renderer.picture()
    owner = outline.owner
    return len(renderer._outline._front), int(regions(owner)[1].sum()), outline.own_px.tolist()

usual = picture(boxes((10, 16), (12, 20)))
with dr.scoped_set_flag(dr.JitFlag.KernelHistory, True):
    dr.kernel_history_clear()
    piled = picture(boxes((8, 14), (14.6, 20.6)))
    beside = picture(boxes((-3, 0.9)))
    corner = picture(boxes((-9, -0.5)))
    compiled = [kernel["cache_hit"] for kernel in dr.kernel_history([dr.KernelType.JIT])].count(False)
print(usual[0] > 1, usual[1] > 1, piled[0], piled[2], beside[1], beside[2], compiled)
"""


@pytest.mark.slow
def test_a_single_pixel_has_no_kernel_of_its_own(tmp_path: pathlib.Path) -> None:
    """Where one pixel alone has something behind it, or touches a particle by a corner, it is counted as others are."""
    done = subprocess.run(
        [sys.executable, "-c", ONE_PIXEL],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "True True 1 [36, 36] 1 [1] 0"
