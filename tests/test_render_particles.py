"""Radiance and ids of particle scenes against Mitsuba's own integrators and brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nanostream.render import backend
from nanostream.render.camera import Camera
from nanostream.scene.config import SceneConfig
from nanostream.scene.ensemble import Ensemble, build_ensemble
from nanostream.texture.surface import SurfaceTable

SIZE, PIXEL_NM = 40, 32.0
SHAPES: dict[str, dict[str, Any]] = {
    "grains": {},
    "spheres": {"shape": {"kind": "sphere"}},
    "wires": {
        "shape": {"kind": "wire"},
        "sizes": {"kind": "lognormal", "median_nm": 90, "sigma": 0.1},
        "placement": {"kind": "network"},
    },
}


def ensemble_of(shape: str) -> Ensemble:
    """A small picture of the shape, dense enough to have piles."""
    extent = SIZE * PIXEL_NM
    config = SceneConfig.model_validate(SHAPES[shape])
    size = {"height_nm": extent, "width_nm": extent, "pixel_nm": PIXEL_NM}
    drawn = [build_ensemble(config, **size, rng=np.random.default_rng(seed)) for seed in range(20)]
    return max(drawn, key=len)


def table_of(ensemble: Ensemble, **surface: float) -> SurfaceTable:
    """One surface for all particles and another for the ground, with nothing that Mitsuba has not."""
    columns = {"base_color": 0.6, "roughness": 0.5, "specular": 0.0, "spec_tint": 0.0, "sheen": 0.0, **surface}
    rows = {name: np.full(1 + len(ensemble), value, np.float32) for name, value in columns.items()}
    rows["base_color"][0] = 0.2
    rows["sheen"][0], rows["specular"][0], rows["roughness"][0] = 0, 0, 0.5
    for name, value in (("gain", 1), ("rim", 0), ("ambient", 0)):
        rows[name] = np.full(1 + len(ensemble), value, np.float32)
    return SurfaceTable(**rows, rim_cap=4.0, relief=np.ones((SIZE, SIZE), np.float32))


def mitsuba_picture(ensemble: Ensemble, surface: dict[str, float], samples: int) -> np.ndarray:
    """The same scene with Mitsuba's `direct` integrator, `principled` BSDF and orthographic sensor."""
    import mitsuba as mi

    extent = SIZE * PIXEL_NM

    def mesh(name: str, vertices: np.ndarray, normals: np.ndarray, faces: np.ndarray, bsdf: dict) -> mi.Mesh:
        properties = mi.Properties()
        properties["bsdf"] = mi.load_dict(bsdf)
        shape = mi.Mesh(name, len(vertices), len(faces), has_vertex_normals=True, props=properties)
        values = mi.traverse(shape)
        values["faces"], values["vertex_positions"] = faces.ravel(), vertices.ravel()
        values.update()
        values["vertex_normals"] = normals.ravel()
        values.update()
        return shape

    principled = {"type": "principled", "base_color": {"type": "rgb", "value": 0.6}, "roughness": 0.5, "specular": 0.0}
    ground = np.array([(x, y, 0) for x in (-4 * extent, 5 * extent) for y in (-4 * extent, 5 * extent)])
    scene = mi.load_dict(
        {
            "type": "scene",
            "particles": mesh(
                "particles",
                ensemble.vertices,
                ensemble.normals,
                ensemble.faces,
                {"type": "twosided", "bsdf": {**principled, **surface}},
            ),
            "ground": mesh(
                "ground",
                ground,
                np.tile([0, 0, 1], (4, 1)),
                np.array([[0, 2, 1], [1, 2, 3]]),
                {**principled, "base_color": {"type": "rgb", "value": 0.2}},
            ),
            "sky": {"type": "constant", "radiance": 1.0},
            "integrator": {"type": "direct", "emitter_samples": 2, "bsdf_samples": 1},
            "sensor": {
                "type": "orthographic",
                "to_world": mi.ScalarTransform4f()
                .look_at([extent / 2, extent / 2, 5000], [extent / 2, extent / 2, 0], [0, -1, 0])
                # Mitsuba's sensors look along +z with x to the left.
                .scale([-extent / 2, extent / 2, 1]),
                "sampler": {"type": "multijitter", "sample_count": samples},
                "film": {
                    "type": "hdrfilm",
                    "width": SIZE,
                    "height": SIZE,
                    "rfilter": {"type": "box"},
                    "pixel_format": "luminance",
                },
            },
        }
    )
    return np.array(mi.render(scene, spp=samples))[:, :, 0]


@pytest.mark.parametrize(
    ("shape", "surface"),
    [
        ("grains", {}),
        ("grains", {"sheen": 1.5}),
        ("grains", {"specular": 0.5, "roughness": 0.6}),
        ("spheres", {"roughness": 0.9}),
        ("wires", {"sheen": 0.5}),
    ],
)
def test_radiance_is_that_of_mitsubas_direct_integrator(shape: str, surface: dict[str, float]) -> None:
    """Mean relative difference under 1 % from Mitsuba's direct light of the same meshes, many samples each."""
    backend.start()
    from nanostream.render.particles import ParticleRenderer

    ensemble = ensemble_of(shape)
    renderer = ParticleRenderer(
        Camera(particle_samples=1024, ground_samples=4096), height=SIZE, width=SIZE, pixel_nm=PIXEL_NM
    )
    outline = renderer.outline(ensemble)
    ours = renderer.radiance(outline, table_of(ensemble, **surface), seed=1)
    reference = mitsuba_picture(ensemble, surface, samples=4096)
    # Blocks of 2 x 2 pixels, to have less of the reference's own noise.
    blocks = (ours - reference).reshape(SIZE // 2, 2, SIZE // 2, 2).mean((1, 3))
    assert np.abs(blocks).mean() / reference.mean() < 0.01
    assert abs(ours.mean() / reference.mean() - 1) < 0.005


@pytest.mark.parametrize("shape", list(SHAPES))
def test_outline_agrees_with_each_particle_alone(shape: str) -> None:
    """Own area is that of the particle rendered alone, visible area that of the ids."""
    backend.start()
    import dataclasses

    from nanostream.render.particles import ParticleRenderer

    ensemble = ensemble_of(shape)
    renderer = ParticleRenderer(Camera(), height=SIZE, width=SIZE, pixel_nm=PIXEL_NM)
    outline = renderer.outline(ensemble)
    assert (outline.own_px >= outline.visible_px).all()
    assert (outline.own_px > outline.visible_px).any()
    for i in range(len(ensemble)):
        assert outline.visible_px[i] == (outline.owner == i + 1).sum()
        mine = ensemble.particle == i
        alone = dataclasses.replace(ensemble, faces=ensemble.faces[mine], particle=ensemble.particle[mine])
        assert outline.own_px[i] == (renderer.outline(alone).owner == i + 1).sum()


def test_bytes_do_not_depend_on_what_was_rendered_before() -> None:
    """The same ensemble, surfaces and seed give the same bytes from a fresh and from a used renderer."""
    backend.start()
    from nanostream.render.particles import ParticleRenderer

    grains, wires = ensemble_of("grains"), ensemble_of("wires")

    def picture(renderer: ParticleRenderer) -> bytes:
        outline = renderer.outline(grains)
        return outline.owner.tobytes() + renderer.radiance(outline, table_of(grains), seed=5).tobytes()

    used = ParticleRenderer(Camera(), height=SIZE, width=SIZE, pixel_nm=PIXEL_NM)
    used.radiance(used.outline(wires), table_of(wires), seed=3)
    fresh = ParticleRenderer(Camera(), height=SIZE, width=SIZE, pixel_nm=PIXEL_NM)
    assert picture(used) == picture(fresh)
