"""Gradients through the torch crossings against finite differences, and that no step compiles a kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from nanostream.gan.effect_network import EffectNetwork
from nanostream.gan.look import LookRenderer
from nanostream.gan.windows import window, windows
from nanostream.render import backend
from nanostream.render.camera import Camera
from nanostream.scene.config import SceneConfig
from nanostream.scene.ensemble import build_ensemble
from nanostream.scene.published import PublishedOptics, PublishedPlacement, PublishedSceneConfig, place
from nanostream.texture.effects import EFFECTS
from nanostream.texture.parameters import Material, Shading
from nanostream.texture.surface import SurfaceTable

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

    from nanostream.render.crossing import ParticleCrossing
    from nanostream.scene.ensemble import Ensemble

SIZE, PIXEL_NM = 48, 16.0
COLUMNS = ("base_color", "roughness", "specular", "spec_tint", "sheen", "gain", "rim", "ambient")
START = torch.tensor([0.5, 0.5, 0.4, 0.3, 0.6, 1.1, 0.4, 0.3])
PUBLISHED = tuple(
    f"{surface}.{parameter}"
    for surface in ("particle", "stage")
    for parameter in (
        *("base_color", "roughness", "specular", "metallic"),
        *("sheen", "clearcoat", "clearcoat_gloss", "flatness"),
    )
)
SEEDS = range(1, 7)
CAMERA = Camera(particle_samples=8, edge_samples=8, ground_samples=8)


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    extent = SIZE * PIXEL_NM
    size = {"height_nm": extent, "width_nm": extent, "pixel_nm": PIXEL_NM}
    config = SceneConfig.model_validate({"placement": {"kind": "agglomerates", "coverage": [0.4, 0.4]}})
    return build_ensemble(config, **size, rng=np.random.default_rng(4))


@pytest.fixture(scope="module")
def crossing(ensemble: Ensemble) -> ParticleCrossing:
    backend.start()
    from nanostream.render.crossing import ParticleCrossing

    crossing = ParticleCrossing(CAMERA, height=SIZE, width=SIZE, pixel_nm=PIXEL_NM)
    crossing.load(ensemble)
    return crossing


def central(loss: Callable[[float], float], at: float, step: float) -> float:
    return (loss(at + step) - loss(at - step)) / (2 * step)


def tensors(ensemble: Ensemble) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    columns = START.repeat(1 + len(ensemble), 1)
    columns[:, 0] += torch.linspace(0, 0.3, len(columns))
    return columns, torch.ones(SIZE, SIZE), torch.tensor([2.5, 1.5])


@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("column", COLUMNS)
def test_columns_have_gradients(crossing: ParticleCrossing, ensemble: Ensemble, row: int, column: str) -> None:
    """The gradient to each number of a surface, the ground's and a particle's, is that of finite differences to 2 %."""
    columns, relief, curve = tensors(ensemble)
    k = COLUMNS.index(column)
    # The particle that covers most, so that the number matters.
    row = row and 1 + int(np.argmax(np.bincount(crossing.load(ensemble).ravel())[1:]))
    weights = torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(1))

    def loss(value: float) -> float:
        changed = columns.clone()
        changed[row, k] = value
        return float((crossing.radiance(changed, relief, curve, seed=3) * weights).sum(dtype=torch.float64))

    leaf = columns.clone().requires_grad_()
    (crossing.radiance(leaf, relief, curve, seed=3) * weights).sum().backward()
    assert leaf.grad is not None
    expected = central(loss, float(columns[row, k]), 0.02)
    if column == "rim" and row == 0:
        # The ground is level: it has no tilt that a yield could grow with.
        assert abs(expected) < 1e-3
        assert float(leaf.grad[row, k]) == pytest.approx(0, abs=1e-3)
        return
    assert abs(expected) > 1e-3
    assert float(leaf.grad[row, k]) == pytest.approx(expected, rel=0.02)


def test_relief_and_rim_curve_have_gradients(crossing: ParticleCrossing, ensemble: Ensemble) -> None:
    """So is the gradient to the ground's relief, to the greatest tilt that counts and to the rims' power."""
    columns, relief, curve = tensors(ensemble)
    bump = torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(2))

    def loss(share: float = 0.0, most: float = 2.5, power: float = 1.5) -> float:
        bent = torch.tensor([most, power])
        return float(crossing.radiance(columns, relief + share * bump, bent, seed=3).sum(dtype=torch.float64))

    leaf, bent = relief.clone().requires_grad_(), curve.clone().requires_grad_()
    crossing.radiance(columns, leaf, bent, seed=3).sum().backward()
    assert leaf.grad is not None
    assert bent.grad is not None
    assert float((leaf.grad * bump).sum()) == pytest.approx(central(lambda s: loss(share=s), 0.0, 0.1), rel=0.02)
    expected = central(lambda m: loss(most=m), 2.5, 0.02), central(lambda p: loss(power=p), 1.5, 0.02)
    assert min(map(abs, expected)) > 1e-3
    assert bent.grad.tolist() == pytest.approx(expected, rel=0.02)


def test_the_crossing_renders_what_the_renderer_does(
    monkeypatch: pytest.MonkeyPatch, crossing: ParticleCrossing, ensemble: Ensemble
) -> None:
    """Radiance in torch is the renderer's where each pixel is sampled, so that what is learned is what is rendered."""
    from nanostream.render import lattice
    from nanostream.render.particles import ParticleRenderer

    monkeypatch.setattr(lattice, "_WIDEST", 1)
    monkeypatch.setattr(lattice.Lattice, "fill", lambda *_: None)

    columns, relief, curve = tensors(ensemble)
    renderer = ParticleRenderer(CAMERA, height=SIZE, width=SIZE, pixel_nm=PIXEL_NM)
    renderer.load(ensemble)
    named: dict[str, Any] = dict(zip(COLUMNS, columns.numpy().T.copy(), strict=True))
    cap, power = curve.tolist()
    table = SurfaceTable(**named, rim_cap=cap, rim_power=power, relief=relief.numpy())
    renderer.shade(table, seed=3)
    rendered = renderer.picture()[1].radiance
    learned = crossing.radiance(columns, relief, curve, seed=3).numpy()
    assert rendered.std() > 0.05
    np.testing.assert_allclose(learned, rendered, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("effect", EFFECTS)
def test_effects_have_gradients(monkeypatch: pytest.MonkeyPatch, effect: str) -> None:
    """The gradient to every effect of a learned texture, from the detector back, is that of finite differences."""
    # Whole levels are steps, which finite differences fall over.
    monkeypatch.setattr("nanostream.gan.exposure.on_levels", lambda pictures: pictures)
    scene = SceneConfig.model_validate({"placement": {"kind": "agglomerates", "coverage": [0.3, 0.4]}})
    ensembles = windows(scene, patch_px=SIZE, pixel_nm=PIXEL_NM, seed=0, first=0, count=2)
    renderer = LookRenderer(batch=2, patch_px=SIZE, pixel_nm=PIXEL_NM)
    weights = torch.rand(2, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    # Strong enough that every effect shows.
    shown = {"islands_shown": 0.0, "wrinkles_shown": 0.0, "islands": 0.8, "wrinkles": 0.8, "offset": 0.05, "waves": 0.1}
    shown |= {"mottle": 0.1, "streak": 0.1}
    start = {name: shown.get(name, each.start) for name, each in EFFECTS.items()}

    def pictures(values: dict[str, torch.Tensor]) -> torch.Tensor:
        return renderer.render(ensembles, values, np.random.default_rng(0)).pictures

    def measure(drawn: torch.Tensor) -> torch.Tensor:
        # What lies beside each other differs by how large patterns are, which levels alone show by chance only.
        return (drawn.square() * weights).sum() + 10 * drawn.diff(dim=-1).square().sum()

    def loss(value: float) -> float:
        values = {name: torch.full((2,), value if name == effect else at) for name, at in start.items()}
        return float(measure(pictures(values).double()))

    leaf = torch.full((2,), start[effect], requires_grad=True)
    values = {name: leaf if name == effect else torch.full((2,), at) for name, at in start.items()}
    measure(pictures(values)).backward()
    assert leaf.grad is not None
    # What is shown at 0 changes the picture little: a short step would drown in rounding, whose size the processor
    # decides.
    step = 0.01 * (max(abs(start[effect]), 0.2 * EFFECTS[effect].high) if start[effect] else EFFECTS[effect].high)
    # Two steps tell what is due to their length, so that they may be longer than what rounding tells.
    expected = (4 * central(loss, start[effect], step) - central(loss, start[effect], 2 * step)) / 3
    assert abs(expected) > 1e-5
    assert float(leaf.grad.sum()) == pytest.approx(expected, rel=0.02)


def test_steps_compile_nothing() -> None:
    """Behind the first, steps with other scenes, numbers of particles and values compile no kernel."""
    backend.start()
    import drjit as dr

    scene = SceneConfig()
    renderer = LookRenderer(batch=2, patch_px=SIZE, pixel_nm=PIXEL_NM)
    network = EffectNetwork(EFFECTS, latents=4, hidden=4, random=torch.Generator().manual_seed(0))
    counts = []
    with dr.scoped_set_flag(dr.JitFlag.KernelHistory, True):
        for step in range(6):
            dr.kernel_history_clear()
            rng = np.random.default_rng(step)
            ensembles = windows(scene, patch_px=SIZE, pixel_nm=PIXEL_NM, seed=0, first=2 * step, count=2)
            z = torch.from_numpy(rng.standard_normal((2, 4), np.float32))
            renderer.render(ensembles, network(z), rng).pictures.sum().backward()
            kernels = [kernel for kernel in dr.kernel_history() if kernel["type"] == dr.KernelType.JIT]
            assert kernels
            counts.append(sum(not kernel["cache_hit"] for kernel in kernels))
    assert counts[2:] == [0, 0, 0, 0]


def test_windows_show_what_the_scene_shows() -> None:
    """A window renders the ids of its part of the larger scene."""
    backend.start()
    from nanostream.render.crossing import ParticleCrossing

    edge = 2 * SIZE
    extent = edge * PIXEL_NM
    config = SceneConfig.model_validate({"placement": {"kind": "agglomerates", "coverage": [0.3, 0.3]}})
    size = {"height_nm": extent, "width_nm": extent, "pixel_nm": PIXEL_NM}
    scene = build_ensemble(config, **size, rng=np.random.default_rng(1))
    whole = ParticleCrossing(CAMERA, height=edge, width=edge, pixel_nm=PIXEL_NM).load(scene) > 0
    part = window(scene, left_nm=SIZE * PIXEL_NM, top_nm=0.0, size_nm=SIZE * PIXEL_NM)
    shown = ParticleCrossing(CAMERA, height=SIZE, width=SIZE, pixel_nm=PIXEL_NM).load(part) > 0
    assert 0 < len(part) < len(scene)
    assert 0.05 < shown.mean() < 0.95
    assert (shown != whole[:SIZE, SIZE:]).mean() < 0.001


@pytest.fixture(scope="module")
def published(shared_data: pathlib.Path) -> Any:
    backend.start()
    from nanostream.render.crossing import PublishedCrossing

    radii = {"kind": "lognormal", "mu": 0.6, "sigma": 0.2}
    placement = PublishedPlacement.model_validate(
        {
            "radii": radii,
            "mesh_unit": 0.25,
            "mesh_scale": 1.0,
            "base_limit": 1.0,
            "in_depth": False,
            "agglomerates": 1,
            "method": "poisson",
        }
    )
    config = PublishedSceneConfig(
        folder=shared_data / "diffrendergan" / "meshes",
        meshes=("SiO2_sphere_1.ply",) * 5,
        placement=placement,
        optics=PublishedOptics(samples_per_pixel=1024),
    )
    crossing = PublishedCrossing(config, height=16, width=16)
    surface = Material(base_color=0.5, roughness=0.4, specular=0.5, spec_tint=0.4, sheen=0.5, sheen_tint=0.3)
    surface = surface.model_copy(update={"metallic": 0.4, "clearcoat": 0.5, "clearcoat_gloss": 0.4, "flatness": 0.3})
    crossing.load(place(placement, 5, np.random.default_rng(0)), Shading(surface, surface, 0.0))
    return crossing, surface


@pytest.fixture(scope="module")
def learned_gradients(published: Any) -> np.ndarray:
    """Gradients to all parameters at once, as they are learned, for each of the seeds: (seeds, parameters)."""
    crossing, material = published
    found = []
    for seed in SEEDS:
        leaf = torch.tensor([getattr(material, name.split(".")[1]) for name in PUBLISHED], requires_grad=True)
        crossing.radiance(PUBLISHED, leaf, seed=seed).mean().backward()
        assert leaf.grad is not None
        found.append(leaf.grad.double().numpy())
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameters_have_gradients(published: Any, learned_gradients: np.ndarray, name: str) -> None:
    """The gradient of the published mode to each parameter is that of finite differences to 2 % and the noise.

    Mitsuba takes other rays for the gradient than for the picture, and a parameter that steers where rays go takes
    others at each end of a difference: both are means over seeds, and known no better than their spread says.
    """
    crossing, material = published
    at = getattr(material, name.split(".")[1])
    start = torch.tensor([getattr(material, each.split(".")[1]) for each in PUBLISHED])

    def loss(value: float, seed: int) -> float:
        changed = start.clone()
        changed[PUBLISHED.index(name)] = value
        return float(crossing.radiance(PUBLISHED, changed, seed=seed).mean(dtype=torch.float64))

    # A coat decides most of where rays go, so that a short step drowns in noise.
    step = 0.2 if "clearcoat" in name else 0.05
    expected = np.array([central(lambda value, seed=seed: loss(value, seed), at, step) for seed in SEEDS])
    found = learned_gradients[:, PUBLISHED.index(name)]
    noise = float(np.std(found - expected, ddof=1) / np.sqrt(len(SEEDS)))
    assert noise < 0.1 * abs(expected.mean()) + 1e-5
    assert found.mean() == pytest.approx(expected.mean(), abs=0.02 * abs(expected.mean()) + 4 * noise)
