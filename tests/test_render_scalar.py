"""Ids of whole pictures against Mitsuba's scalar variant, which needs no LLVM and shares none of the project's code."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from nanostream.recipe import Recipe
from nanostream.render import backend
from nanostream.scene.config import SceneConfig
from nanostream.scene.ensemble import build_ensemble
from nanostream.seeding import Purpose, generator

if TYPE_CHECKING:
    import pathlib

SCALAR = """
import sys, numpy as np, mitsuba as mi
mi.set_variant("scalar_rgb")
given = np.load(sys.argv[1])
mesh = mi.Mesh("particles", len(given["vertices"]), len(given["faces"]))
values = mi.traverse(mesh)
values["vertex_positions"], values["faces"] = given["vertices"].ravel(), given["faces"].ravel()
values.update()
scene = mi.load_dict({"type": "scene", "particles": mesh})
owner = np.zeros(given["shape"], np.int64)
for row, column in np.ndindex(*owner.shape):
    x, y = (column + 0.5) * given["pixel_nm"], (row + 0.5) * given["pixel_nm"]
    hit = scene.ray_intersect_preliminary(mi.Ray3f(mi.Point3f(x, y, 1e4), mi.Vector3f(0, 0, -1)))
    if hit.is_valid():
        owner[row, column] = given["particle"][hit.prim_index] + 1
np.save(sys.argv[2], owner)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["agnw-sem", "sio2-him", "tio2-sem"])
def test_ids_of_presets_are_those_of_scalar_mitsuba(name: str, tmp_path: pathlib.Path) -> None:
    """Under 0.1 % of the pixels of a preset's pictures show another particle in the scalar variant."""
    backend.start()
    from nanostream.render.geometry import Geometry
    from nanostream.render.outline import trace_outline

    recipe, geometry = Recipe.preset(name), Geometry()
    picture, scene = recipe.picture, recipe.scene
    assert isinstance(scene, SceneConfig)
    extent = {"height_nm": picture.height * picture.pixel_nm, "width_nm": picture.width * picture.pixel_nm}
    size = {"height": picture.height, "width": picture.width, "pixel_nm": picture.pixel_nm}
    covered = 0.0
    for index in range(3):
        rng = generator(0, index, Purpose.SCENE)
        ensemble = build_ensemble(scene, **extent, pixel_nm=picture.pixel_nm, rng=rng)
        geometry.load(ensemble)
        owner = trace_outline(geometry, **size).owner
        mesh = {name: getattr(ensemble, name) for name in ("vertices", "faces", "particle")}
        np.savez(tmp_path / "in.npz", **mesh, shape=owner.shape, pixel_nm=picture.pixel_nm)
        arguments = [sys.executable, "-c", SCALAR, str(tmp_path / "in.npz"), str(tmp_path / "out.npy")]
        subprocess.run(arguments, check=True, timeout=600)
        assert (np.load(tmp_path / "out.npy") != owner).mean() < 0.001
        covered += (owner > 0).mean()
    assert covered > 0.05
