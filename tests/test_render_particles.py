"""Radiance and ids of particle scenes against Mitsuba's own integrators and brute force."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import trimesh
from scipy import ndimage

from nanostream.render import backend
from nanostream.render.camera import Camera
from nanostream.scene.config import SceneConfig
from nanostream.scene.ensemble import Ensemble, build_ensemble
from nanostream.texture.surface import SurfaceTable

if TYPE_CHECKING:
    from nanostream.render.outline import Outline
    from nanostream.render.particles import Light

SIZE, PIXEL_NM = 40, 32.0
EXTENT = SIZE * PIXEL_NM
SAMPLES = Camera(particle_samples=1024, edge_samples=1024, ground_samples=4096)
PLAIN = {"base_color": 0.6, "roughness": 0.5, "specular": 0.0, "spec_tint": 0.0, "sheen": 0.0}
GROUND = {**PLAIN, "base_color": 0.2}
EVERY = {"base_color": 0.8, "roughness": 0.6, "specular": 0.5, "spec_tint": 0.4, "sheen": 0.6}
SHAPES: dict[str, dict[str, Any]] = {
    "grains": {},
    "spheres": {"shape": {"kind": "sphere"}},
    "wires": {
        "shape": {"kind": "wire"},
        "sizes": {"kind": "lognormal", "median_nm": 90, "sigma": 0.1},
        "placement": {"kind": "network"},
    },
    "meshes": {"shape": {"kind": "mesh", "files": ["solid.ply"]}},
}


@pytest.fixture(scope="module")
def ensembles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ensemble]:
    """A small picture of each shape, dense enough to have piles."""
    file = tmp_path_factory.mktemp("mesh") / "solid.ply"
    trimesh.util.concatenate([trimesh.creation.capsule(2, 1)]).export(file)
    found = {}
    for name, fields in SHAPES.items():
        config = SceneConfig.model_validate(json.loads(json.dumps(fields).replace("solid.ply", str(file))))
        size = {"height_nm": EXTENT, "width_nm": EXTENT, "pixel_nm": PIXEL_NM}
        found[name] = max((build_ensemble(config, **size, rng=np.random.default_rng(k)) for k in range(20)), key=len)
    return found


def table_of(count: int, relief: np.ndarray | None = None, **columns: float | np.ndarray) -> SurfaceTable:
    """One surface for all particles unless an array says otherwise, and another for the ground."""
    values = {**PLAIN, "gain": 1, "rim": 0, "ambient": 0, **columns}
    rows = {name: np.full(1 + count, value, np.float32) for name, value in values.items() if np.ndim(value) == 0}
    for name, column in rows.items():
        column[0] = {**GROUND, "gain": 1, "rim": 0, "ambient": 0}[name]
    rows |= {name: np.asarray(value, np.float32) for name, value in values.items() if np.ndim(value)}
    return SurfaceTable(
        **rows, rim_cap=2.0, rim_power=1.0, relief=np.ones((SIZE, SIZE), np.float32) if relief is None else relief
    )


def picture_of(
    ensemble: Ensemble, table: SurfaceTable, camera: Camera = SAMPLES, seed: int = 1
) -> tuple[Outline, Light]:
    """The project's own integrator."""
    backend.start()
    from nanostream.render.particles import ParticleRenderer

    renderer = ParticleRenderer(camera, height=SIZE, width=SIZE, pixel_nm=PIXEL_NM)
    renderer.load(ensemble)
    renderer.shade(table, seed=seed)
    return renderer.picture()


def mitsuba_picture(
    ensemble: Ensemble,
    surface: dict[str, float],
    integrator: dict[str, Any],
    samples: int = 4096,
    ground: dict[str, float] = GROUND,
) -> np.ndarray:
    """The same scene rendered by Mitsuba, channels last."""
    import mitsuba as mi

    return np.array(mi.render(mitsuba_scene(ensemble, surface, integrator, ground), spp=samples))


def mitsuba_scene(
    ensemble: Ensemble, surface: dict[str, float], integrator: dict[str, Any], ground: dict[str, float] = GROUND
) -> Any:
    """The same scene for Mitsuba: its `principled` BSDF, orthographic sensor and an integrator."""
    import mitsuba as mi

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

    def principled(values: dict[str, float]) -> dict[str, Any]:
        return {"type": "principled", **values, "base_color": {"type": "rgb", "value": values["base_color"]}}

    plane = np.array([(x, y, 0) for x in (-1000 * EXTENT, 1001 * EXTENT) for y in (-1000 * EXTENT, 1001 * EXTENT)])
    up = np.tile([0, 0, 1], (4, 1))
    grains = {"type": "twosided", "bsdf": principled({**PLAIN, **surface})}
    middle = [EXTENT / 2, EXTENT / 2, 0]
    sensor = {
        "type": "orthographic",
        # Mitsuba's sensors look along +z with x to the left.
        "to_world": mi.ScalarTransform4f()
        .look_at([*middle[:2], 5000], middle, [0, -1, 0])
        .scale([-EXTENT / 2, EXTENT / 2, 1]),
        "sampler": {"type": "multijitter", "sample_count": 4096},
        "film": {
            "type": "hdrfilm",
            "width": SIZE,
            "height": SIZE,
            "rfilter": {"type": "box"},
            "pixel_format": "luminance",
        },
    }
    return mi.load_dict(
        {
            "type": "scene",
            "particles": mesh("particles", ensemble.vertices, ensemble.normals, ensemble.faces, grains),
            "ground": mesh("ground", plane, up, np.array([[0, 2, 1], [1, 2, 3]]), principled(ground)),
            "sky": {"type": "constant", "radiance": 1.0},
            "integrator": integrator,
            "sensor": sensor,
        }
    )


DIRECT = {"type": "direct", "emitter_samples": 2, "bsdf_samples": 1}


def relative_difference(ours: np.ndarray, reference: np.ndarray) -> float:
    """Mean over blocks of 2 x 2 pixels, which have less of the reference's own noise."""
    blocks = (ours - reference).reshape(SIZE // 2, 2, SIZE // 2, 2).mean((1, 3))
    return float(np.abs(blocks).mean() / reference.mean())


@pytest.mark.parametrize(
    ("shape", "surface"),
    [
        ("grains", {}),
        ("grains", {"base_color": 0.95}),
        ("grains", {"sheen": 1.5}),
        ("grains", {"specular": 0.5, "roughness": 0.6}),
        ("grains", {"specular": 0.9, "roughness": 0.35, "spec_tint": 0.7}),
        *((shape, EVERY) for shape in SHAPES),
    ],
)
def test_radiance_is_that_of_mitsubas_direct_integrator(
    ensembles: dict[str, Ensemble], shape: str, surface: dict[str, float]
) -> None:
    """Mean relative difference under 1 % from Mitsuba's direct light of the same meshes, many samples each."""
    ensemble = ensembles[shape]
    _, light = picture_of(ensemble, table_of(len(ensemble), **surface))
    reference = mitsuba_picture(ensemble, surface, DIRECT)[:, :, 0]
    assert relative_difference(light.radiance, reference) < 0.01
    assert abs(light.radiance.mean() / reference.mean() - 1) < 0.005


def test_ground_is_shaded_by_every_parameter_of_its_own(ensembles: dict[str, Ensemble]) -> None:
    """Mean relative difference under 1 % from Mitsuba's direct light with a ground that uses the whole BSDF."""
    ensemble = ensembles["spheres"]
    columns = {name: np.array([EVERY[name], *[value] * len(ensemble)]) for name, value in PLAIN.items()}
    outline, light = picture_of(ensemble, table_of(len(ensemble), **columns))
    reference = mitsuba_picture(ensemble, {}, DIRECT, ground=EVERY)[:, :, 0]
    assert relative_difference(light.radiance, reference) < 0.01
    ground = outline.owner == 0
    assert abs(light.radiance[ground].mean() / reference[ground].mean() - 1) < 0.005


@pytest.mark.parametrize("shape", list(SHAPES))
def test_gain_ambient_and_relief_act_on_mitsubas_light(ensembles: dict[str, Ensemble], shape: str) -> None:
    """Gain and relief multiply a surface's light; ambient fades from Mitsuba's occluded to its unoccluded picture."""
    ensemble = ensembles[shape]
    count, rng = len(ensemble), np.random.default_rng(0)
    relief = rng.uniform(0.5, 1.5, (SIZE, SIZE)).astype(np.float32)
    gain = np.concatenate([[1], rng.uniform(0.5, 2, count)])
    outline, light = picture_of(ensemble, table_of(count, relief=relief, gain=gain))
    plain = mitsuba_picture(ensemble, {}, DIRECT)[:, :, 0]
    factor = np.where(outline.owner == 0, relief, gain[outline.owner])
    inside = inner(outline.owner)
    assert np.abs(light.radiance / (plain * factor) - 1)[inside].mean() < 0.01

    _, dim = picture_of(ensemble, table_of(count, ambient=np.full(count + 1, 0.4)))
    _, open_sky = picture_of(ensemble, table_of(count, ambient=np.ones(count + 1)))
    fade = 0.6 * plain + 0.4 * open_sky.radiance
    assert np.abs(dim.radiance - fade).mean() / fade.mean() < 0.01
    # Without any occlusion the ground sends back what its BSDF reflects of the whole sky.
    ground = (outline.owner == 0) & inside
    assert open_sky.radiance[ground].std() < 1e-3
    assert open_sky.radiance[ground].mean() == pytest.approx(reflectance(GROUND), rel=0.005)


@pytest.mark.parametrize("pixel_nm", [8.0, 14.0, 20.0])
def test_filled_ground_is_what_its_own_samples_would_show(monkeypatch: pytest.MonkeyPatch, pixel_nm: float) -> None:
    """Between nodes that are four, three and two pixels apart: within 0.5 % on average, and 1 % as an RMSE."""
    backend.start()
    from nanostream.render import lattice
    from nanostream.render.particles import ParticleRenderer

    size = 96
    extent = {"height_nm": size * pixel_nm, "width_nm": size * pixel_nm, "pixel_nm": pixel_nm}
    ensemble = build_ensemble(SceneConfig(), **extent, rng=np.random.default_rng(2))
    camera = Camera(particle_samples=2, edge_samples=2, ground_samples=1024)
    renderer = ParticleRenderer(camera, height=size, width=size, pixel_nm=pixel_nm)

    def light() -> np.ndarray:
        renderer.load(ensemble)
        renderer.shade(table_of(len(ensemble), relief=np.ones((size, size), np.float32)), seed=1)
        return renderer.picture()[1].radiance

    filled = light()
    ground = renderer._lattice
    monkeypatch.setattr(lattice, "_WIDEST", 1)
    off = filled[ground.filled] / light()[ground.filled] - 1
    assert ground.filled.sum() > 1.5 * ground.sampled.sum()
    assert abs(off.mean()) < 0.005
    assert np.sqrt(np.mean(off**2)) < 0.01


RIM = 1.5
CURVES = pytest.mark.parametrize(("cap", "power"), [(2.0, 1.0), (1.2, 1.0), (2.0, 1.5)])


@pytest.mark.parametrize("shape", list(SHAPES))
@CURVES
def test_rim_follows_the_tilt_of_mitsubas_normals(
    ensembles: dict[str, Ensemble], shape: str, cap: float, power: float
) -> None:
    """The yield is 1 + rim (min(1 / cos(tilt), cap) - 1)^power, with the tilt of Mitsuba's own shading normals."""
    # Ways are looked along as far as particles are wide: here nothing stands in any.
    ensemble = dataclasses.replace(ensembles[shape], diameter_nm=1e-6 * ensembles[shape].diameter_nm)
    grown, tilt, inside = rims(ensemble, cap, power)[:3]
    expected = 1 + RIM * (np.minimum(1 / np.maximum(tilt, 1e-3), cap) - 1) ** power
    assert inside.sum() > 50
    assert np.abs(grown / expected - 1)[inside].mean() < 0.01


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "wires"])
@CURVES
def test_rim_counts_free_ways_by_mitsuba(ensembles: dict[str, Ensemble], shape: str, cap: float, power: float) -> None:
    """The yield grows in the share of the directions under the horizon in which no particle stands.

    Not of wires, which are so thin that the share changes within a pixel.
    """
    ensemble = ensembles[shape]
    grown, tilt, inside, normals = rims(ensemble, cap, power, sheen=0.0, specular=0.0, roughness=0.5, ambient=1.0)
    free = free_share(ensemble, normals)
    expected = 1 + RIM * free * (np.minimum(1 / np.maximum(tilt, 1e-3), cap) - 1) ** power
    # Level surfaces are not asked for ways.
    assert np.abs(grown / expected - 1)[inside & (tilt < 0.97)].mean() < 0.02
    steep = inside & (tilt < 0.9)
    hidden = steep & (free <= np.quantile(free[steep], 0.2))
    assert free[hidden].mean() < 0.95
    assert grown[hidden].mean() == pytest.approx(expected[hidden].mean(), rel=0.03)


def rims(ensemble: Ensemble, cap: float, power: float, **surface: float) -> tuple[np.ndarray, ...]:
    """Radiance over that without rims, cosine of the tilt, where both can be compared, and normals, by pixel."""
    table = table_of(len(ensemble), rim=RIM, **surface)
    outline, light = picture_of(ensemble, dataclasses.replace(table, rim_cap=cap, rim_power=power))
    _, plain = picture_of(ensemble, table_of(len(ensemble), **surface))
    aovs = {"type": "aov", "aovs": "n:sh_normal", "image": DIRECT}
    normals = mitsuba_picture(ensemble, {}, aovs, samples=64)[..., -3:]
    tilt = np.abs(normals[..., 2])
    return light.radiance / plain.radiance, tilt, inner(outline.owner) & (outline.owner > 0) & (tilt > 0.6), normals


def free_share(ensemble: Ensemble, normals: np.ndarray, directions: int = 512) -> np.ndarray:
    """Share of each pixel's cosine lobe under the horizon in which no particle stands, (H, W)."""
    backend.start()
    import mitsuba as mi

    from nanostream.render.geometry import Geometry

    geometry = Geometry()
    geometry.load(ensemble)
    row, column = ((np.indices((SIZE, SIZE)).reshape(2, -1, 1) + 0.5) * PIXEL_NM).astype(np.float32)
    down = mi.Ray3f(mi.Point3f(column.ravel(), row.ravel(), 1e4), mi.Vector3f(0, 0, -1))
    z = np.nan_to_num(1e4 - np.array(geometry.scene.ray_intersect_preliminary(down).t), posinf=0, neginf=0)[:, None]
    n = normals.reshape(-1, 3)
    n = n / np.linalg.norm(n, axis=1, keepdims=True)
    ball = np.random.default_rng(0).standard_normal((len(n), directions, 3))
    way = n[:, None] + ball / np.linalg.norm(ball, axis=-1, keepdims=True)
    way /= np.linalg.norm(way, axis=-1, keepdims=True)
    start = [np.repeat(value + 0.05 * n[:, [k]], directions) for k, value in enumerate((column, row, z))]
    ray = mi.Ray3f(mi.Point3f(*start), mi.Vector3f(*way.reshape(-1, 3).T))
    ray.maxt = float(ensemble.diameter_nm.mean())
    met = np.array(geometry.scene.ray_test(ray)).reshape(len(n), directions)
    under = way[..., 2] < 0
    return ((under & ~met).sum(1) / np.maximum(under.sum(1), 1)).reshape(SIZE, SIZE)


def inner(owner: np.ndarray) -> np.ndarray:
    """Pixels whose neighbours show the same."""
    return ndimage.maximum_filter(owner, 3) == ndimage.minimum_filter(owner, 3)


def reflectance(surface: dict[str, float]) -> float:
    """What a surface seen from straight above sends back of a sky of radiance 1, by Mitsuba's BSDF."""
    import drjit as dr
    import mitsuba as mi

    bsdf = mi.load_dict({"type": "principled", **surface, "base_color": {"type": "rgb", "value": 0.2}})
    u = mi.Point2f(np.random.default_rng(0).random((2, 200_000)))
    si = dr.zeros(mi.SurfaceInteraction3f, 200_000)
    si.t, si.wi, si.sh_frame = 1.0, mi.Vector3f(0, 0, 1), mi.Frame3f(mi.Normal3f(0, 0, 1))
    wo = mi.warp.square_to_uniform_hemisphere(u)
    return float(np.mean(np.array(bsdf.eval(mi.BSDFContext(), si, wo)))) * 2 * np.pi


@pytest.mark.parametrize("shape", list(SHAPES))
def test_outline_agrees_with_each_particle_alone(ensembles: dict[str, Ensemble], shape: str) -> None:
    """Own area is that of the particle rendered alone, visible area that of the ids."""
    backend.start()
    from nanostream.render.geometry import Geometry
    from nanostream.render.outline import trace_outline

    size = {"height": SIZE, "width": SIZE, "pixel_nm": PIXEL_NM}
    ensemble, geometry = ensembles[shape], Geometry()
    geometry.load(ensemble)
    outline = trace_outline(geometry, **size)
    assert (outline.own_px >= outline.visible_px).all()
    assert (outline.own_px > outline.visible_px).any()
    for i in range(len(ensemble)):
        assert outline.visible_px[i] == (outline.owner == i + 1).sum()
        mine = ensemble.particle == i
        geometry.load(dataclasses.replace(ensemble, faces=ensemble.faces[mine], particle=ensemble.particle[mine]))
        assert outline.own_px[i] == (trace_outline(geometry, **size).owner == i + 1).sum()


@pytest.mark.parametrize("shape", list(SHAPES))
def test_ids_are_exact_at_pixel_centres(ensembles: dict[str, Ensemble], shape: str) -> None:
    """Each pixel shows the particle whose face lies highest over its centre, found in numpy in double precision."""
    ensemble = ensembles[shape]
    outline, _ = picture_of(ensemble, table_of(len(ensemble)), Camera(particle_samples=2, edge_samples=2))
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) * PIXEL_NM
    top = np.zeros((SIZE, SIZE))
    owner = np.zeros((SIZE, SIZE), int)
    doubtful = np.zeros((SIZE, SIZE), bool)
    for corners, particle in zip(ensemble.vertices[ensemble.faces].astype(float), ensemble.particle, strict=True):
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        v = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
        w = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
        height = az + v * (bz - az) + w * (cz - az)
        least = np.minimum(np.minimum(v, w), 1 - v - w)
        doubtful |= (np.abs(least) < 1e-4) & (height > top - 1)
        higher = (least >= 0) & (height > top)
        top[higher], owner[higher] = height[higher], particle + 1
    # A centre on an edge may go to either side in single precision.
    wrong = outline.owner != owner
    assert not (wrong & ~doubtful).any()
    assert doubtful.mean() < 0.05


def test_error_estimates_what_the_samples_leave(ensembles: dict[str, Ensemble]) -> None:
    """The mean square of `error` is the mean square distance from a converged picture, pixel by pixel and overall."""
    ensemble = ensembles["grains"]
    table = table_of(len(ensemble), sheen=1.0, ambient=0.2, rim=0.5)
    truth = np.mean([picture_of(ensemble, table, seed=100 + k)[1].radiance for k in range(2)], axis=0)
    camera = Camera(particle_samples=8, edge_samples=16, ground_samples=4)
    lights = [picture_of(ensemble, table, camera, seed=k)[1] for k in range(48)]
    off = np.mean([(light.radiance - truth) ** 2 for light in lights], axis=0)
    told = np.mean([light.error**2 for light in lights], axis=0)
    assert told.mean() == pytest.approx(off.mean(), rel=0.1)
    assert np.corrcoef(np.sqrt(off).ravel(), np.sqrt(told).ravel())[0, 1] > 0.9


def test_bytes_do_not_depend_on_what_was_rendered_before(ensembles: dict[str, Ensemble]) -> None:
    """The same ensemble, surfaces and seed give the same bytes from a fresh and from a used renderer."""
    backend.start()
    from nanostream.render.particles import ParticleRenderer

    grains, wires = ensembles["grains"], ensembles["wires"]
    renderer = ParticleRenderer(Camera(), height=SIZE, width=SIZE, pixel_nm=PIXEL_NM)
    pictures = []
    for ensemble, seed in ((grains, 5), (wires, 3), (grains, 5)):
        renderer.load(ensemble)
        renderer.shade(table_of(len(ensemble)), seed=seed)
        outline, light = renderer.picture()
        pictures.append(outline.owner.tobytes() + light.radiance.tobytes() + light.error.tobytes())
    assert pictures[0] == pictures[2] != pictures[1]


SCALAR = """
import sys, numpy as np, mitsuba as mi
mi.set_variant("scalar_rgb")
sys.path.insert(0, sys.argv[1])
import test_render_particles as t
from nanostream.scene.ensemble import Ensemble
ensemble = Ensemble(**np.load(sys.argv[2]))
image = t.mitsuba_picture(ensemble, {}, t.DIRECT, samples=1024)[:, :, 0]
scene = t.mitsuba_scene(ensemble, {}, t.DIRECT)
def owner(row, column):
    start = mi.Point3f((column + 0.5) * t.PIXEL_NM, (row + 0.5) * t.PIXEL_NM, 5000)
    hit = scene.ray_intersect(mi.Ray3f(start, mi.Vector3f(0, 0, -1)))
    return ensemble.particle[hit.prim_index] + 1 if hit.shape.id() == "particles" else 0
owners = [[owner(row, column) for column in range(t.SIZE)] for row in range(t.SIZE)]
np.savez(sys.argv[3], image=image, owner=owners)
"""


@pytest.mark.parametrize("shape", list(SHAPES))
def test_scalar_mitsuba_gives_the_same_picture_and_ids(
    ensembles: dict[str, Ensemble], tmp_path: pathlib.Path, shape: str
) -> None:
    """Mitsuba's scalar variant, without any LLVM: under 0.1 % of ids differ, and the image's RMSE is under 0.005."""
    ensemble = ensembles[shape]
    columns = {field.name: getattr(ensemble, field.name) for field in dataclasses.fields(ensemble)}
    np.savez(tmp_path / "in.npz", **columns)
    here = str(pathlib.Path(__file__).parent)
    arguments = [sys.executable, "-c", SCALAR, here, str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]
    subprocess.run(arguments, check=True, timeout=600)
    with np.load(tmp_path / "out.npz") as out:
        image, owner = out["image"], out["owner"]
    outline, light = picture_of(ensemble, table_of(len(ensemble)))
    assert (outline.owner != owner).mean() < 0.001
    # The reference's own noise at 1,024 samples a pixel is most of what is left.
    blocks = (light.radiance - image).reshape(SIZE // 2, 2, SIZE // 2, 2).mean((1, 3))
    assert np.sqrt(np.mean(blocks**2)) < 0.005
