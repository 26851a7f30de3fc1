"""Monte Carlo error by grey level against the detector's noise: part of render.py."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import scipy.ndimage
from render_scene import PICTURE, RECIPE, detector, ensemble_of, every_pixel, picture_of, rays_in, surfaces_of

from nanostream.render import backend

SCENES = 6
REFERENCE_SPP = 4096
CAMERA = RECIPE.camera
PLANS = {
    "independent, every pixel": [(16, 16, 4)],
    "Sobol, every pixel": [(16, 16, 4), (16, 32, 2)],
    "Sobol, ground on a lattice": [
        (4, 8, 4),
        (8, 24, 8),
        (CAMERA.particle_samples, CAMERA.edge_samples, CAMERA.ground_samples),
    ],
}
LEVELS = np.array([0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0])


def independent(row: Any, column: Any, sample: Any, samples: int, key: Any) -> tuple[Any, ...]:
    """What `sampler.points` would be if samples knew nothing of each other."""
    import mitsuba as mi

    hashed: Any = mi.sample_tea_float32
    lane = (row * PICTURE.width + column) * samples + sample
    return tuple(hashed(lane, key * 4 + dimension, 6) for dimension in range(4))


def seen(picture: np.ndarray) -> np.ndarray:
    """Behind the detector's blur and gain."""
    return scipy.ndimage.gaussian_filter(picture, detector()["blur_px"]) * detector()["gain"]


def error() -> None:
    """Measured, and as estimated from the samples."""
    backend.start()
    from nanostream.render import sampler, shade

    plans = [(name, counts) for name, many in PLANS.items() for counts in many]
    shares: list[list[list[np.ndarray]]] = [[[] for _ in LEVELS[1:]] for _ in plans]
    rays = np.zeros(len(plans))
    for index in range(SCENES):
        ensemble = ensemble_of(index)
        table = surfaces_of(ensemble, index)
        with every_pixel():
            _, light = picture_of((REFERENCE_SPP, REFERENCE_SPP, REFERENCE_SPP // 4), ensemble, table, 10**6)
        truth = seen(light.radiance)
        noise = detector()["shot_noise"] * truth + detector()["read_noise"] ** 2
        level = np.digitize(truth, LEVELS) - 1
        for k, (name, counts) in enumerate(plans):
            shade.points = independent if name.startswith("independent") else sampler.points
            with every_pixel() if name.endswith("every pixel") else contextlib.nullcontext():
                outline, light = picture_of(counts, ensemble, table, index)
                rays[k] += rays_in(counts, ensemble, outline.owner) / SCENES
            both = np.stack([(seen(light.radiance) - truth) ** 2, seen(light.error) ** 2]) / noise
            for number, column in enumerate(shares[k]):
                column.append(both[:, level == number])
        shade.points = sampler.points
    print("error    RMSE over the detector's noise at grey level, and in brackets as estimated from the samples")
    print(
        "  samples: particles, edges, ground                   "
        + " ".join(f"{m:11.2f}" for m in (LEVELS[1:] + LEVELS[:-1]) / 2)
    )
    for (name, counts), levels, traced in zip(plans, shares, rays, strict=True):
        columns = [np.sqrt(np.concatenate(level, axis=1).mean(axis=1)) for level in levels]
        told = " ".join(f"{off:4.2f} ({estimate:4.2f})" for off, estimate in columns)
        print(f"  {name:26} {counts!s:12} {traced / 1e3:4.0f}k rays {told}")
