"""The published renderer on a small scene of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import trimesh

from nanostream.errors import MeshError, RecipeError, RenderError
from nanostream.render import backend
from nanostream.sample import PARTICLE_COLUMNS
from nanostream.scene.published import PublishedOptics, PublishedPlacement, PublishedSceneConfig
from nanostream.scene.published_radii import NormalRadii
from nanostream.texture.checkpoint import Checkpoint, Layer, Spec, save_checkpoint
from nanostream.texture.generator import GeneratorTexture
from nanostream.texture.parameters import Bounds, Material

if TYPE_CHECKING:
    import pathlib

PLACEMENT = PublishedPlacement(
    radii=NormalRadii(mean=1, stddev=0.1),
    mesh_unit=0.4,
    mesh_scale=1,
    base_limit=1.2,
    in_depth=True,
    agglomerates=2,
    method="poisson",
)
OPTICS = PublishedOptics(samples_per_pixel=4, filter_px=0.5)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> PublishedSceneConfig:
    """Six spheres of radius 0.4 and 0.2, over a stage and under two lights."""
    folder = tmp_path_factory.mktemp("meshes")
    for name, mesh in (
        ("ball.ply", trimesh.creation.icosphere(subdivisions=3, radius=0.4)),
        ("small.ply", trimesh.creation.icosphere(subdivisions=3, radius=0.2)),
        ("stage.ply", trimesh.creation.box((2, 2, 2))),
        ("light_source.ply", trimesh.creation.annulus(0.9, 1.1, 0.1)),
        ("light_source2.ply", trimesh.creation.box((2, 2, 2))),
    ):
        mesh.export(folder / name)
    meshes = ("ball.ply", "small.ply", "ball.ply", "small.ply", "ball.ply", "small.ply")
    return PublishedSceneConfig(folder=folder, meshes=meshes, placement=PLACEMENT, optics=OPTICS)


@pytest.fixture(scope="module")
def texture(tmp_path_factory: pytest.TempPathFactory) -> GeneratorTexture:
    """A generator with random weights for six particles."""
    spec = Spec(
        name="random",
        particles=6,
        hidden=8,
        learned_stage=("base_color",),
        learned_particle=("base_color", "sheen"),
        stage_bounds=Bounds(low=0.05, high=0.3),
        particle_bounds=Bounds(low=0.5, high=1.5),
        noise_bounds=Bounds(low=0.001, high=0.05),
        stage=Material(roughness=0.5),
        particle=Material(specular=0.5),
        placement=PLACEMENT,
        optics=OPTICS,
        mesh_set="balls",
    )
    rng = np.random.default_rng(0)
    layers = tuple(
        Layer(*(rng.normal(size=shape).astype(np.float32) for shape in ((rows, columns), (rows, 1), (rows,))))
        for rows, columns in spec.shapes
    )
    path = tmp_path_factory.mktemp("texture") / "random.safetensors"
    save_checkpoint(Checkpoint(spec, layers), path)
    return GeneratorTexture(file=path)


def renderer(config: PublishedSceneConfig, texture: GeneratorTexture, *, height: int = 64, width: int = 64) -> Any:
    """A renderer of small pictures."""
    backend.start()
    from nanostream.render.published import PublishedRenderer

    return PublishedRenderer(config, texture, height=height, width=width, pixel_nm=7.0)


def test_a_sample_is_pure(config: PublishedSceneConfig, texture: GeneratorTexture) -> None:
    """The same seed and index give the same bytes from another renderer, after other samples, with more threads."""
    first, second = renderer(config, texture), renderer(config, texture)
    import drjit  # only now: imported before the backend is chosen, it takes the system's LLVM

    image, mask, particles = first.render(seed=3, index=5)
    second.render(seed=3, index=4)
    drjit.set_thread_count(2)
    try:
        again = second.render(seed=3, index=5)
    finally:
        drjit.set_thread_count(1)
    np.testing.assert_array_equal(image, again[0])
    np.testing.assert_array_equal(mask, again[1])
    assert particles == again[2]
    assert (image != first.render(seed=4, index=5)[0]).any()


@pytest.mark.parametrize(("height", "width"), [(64, 64), (40, 72)])
def test_what_a_sample_holds(config: PublishedSceneConfig, texture: GeneratorTexture, height: int, width: int) -> None:
    """Shapes, types, labels without gaps, and particles that lie where and are as large as the mask says."""
    made = renderer(config, texture, height=height, width=width)
    checked = 0
    for index in range(8):
        image, mask, particles = made.render(seed=0, index=index)
        assert (image.shape, image.dtype) == ((height, width), np.uint8)
        assert (mask.shape, mask.dtype) == ((height, width), np.uint16)
        assert list(particles) == list(PARTICLE_COLUMNS)
        assert particles["label"] == list(range(1, mask.max() + 1))
        for row in zip(*particles.values(), strict=True):
            known = dict(zip(particles, row, strict=True))
            rows, columns = np.nonzero(mask == known["label"])
            assert known["visible_px"] == len(rows)
            assert 0 <= known["hidden_fraction"] < 1
            assert known["z_nm"] > 0
            if known["hidden_fraction"] == 0 and not known["cut"]:
                assert columns.mean() + 0.5 == pytest.approx(known["x_px"], abs=0.8)
                assert rows.mean() + 0.5 == pytest.approx(known["y_px"], abs=0.8)
                assert known["diameter_nm"] == pytest.approx(known["length_nm"], rel=0.03)
                # Perspective: a particle nearer to the camera than placement 0 looks larger.
                seen = 2 * np.sqrt(len(rows) / np.pi) * 7.0
                assert seen == pytest.approx(known["diameter_nm"], rel=0.6)
                checked += 1
    assert checked > 3


def test_pictures_are_lit(config: PublishedSceneConfig, texture: GeneratorTexture) -> None:
    """Particles and stage are neither black nor all white."""
    image, mask, _ = renderer(config, texture).render(seed=1, index=0)
    assert 0 < image[mask == 0].mean() < 255
    assert 0 < image[mask > 0].mean() < 255


def test_filters_draw_again(config: PublishedSceneConfig, texture: GeneratorTexture) -> None:
    """A scene that a filter rejects is drawn again; a filter that nothing passes is an error."""
    free = 0.9
    strict = config.model_copy(update={"min_background": free, "min_contrast": 0.01})
    _, mask, _ = renderer(strict, texture).render(seed=0, index=0)
    assert (mask == 0).mean() >= free
    never = config.model_copy(
        update={"min_background": 1.0, "placement": PLACEMENT.model_copy(update={"base_limit": 0.9})}
    )
    with pytest.raises(RenderError, match="min_background"):
        renderer(never, texture, height=16, width=16).render(seed=0, index=0)


def test_wrong_meshes(config: PublishedSceneConfig, texture: GeneratorTexture, tmp_path: pathlib.Path) -> None:
    """Too few meshes, a missing one and one that is no mesh are named."""
    with pytest.raises(RecipeError, match="expected 6 meshes"):
        renderer(config.model_copy(update={"meshes": config.meshes[:4]}), texture)
    with pytest.raises(MeshError, match=r"none\.ply"):
        renderer(config.model_copy(update={"stage": "none.ply"}), texture)
    for name in {*config.meshes, config.stage, config.upper_light, config.lower_light}:
        (tmp_path / name).write_text("no mesh")
    with pytest.raises(MeshError, match="Mitsuba can read"):
        renderer(config.model_copy(update={"folder": tmp_path}), texture)
