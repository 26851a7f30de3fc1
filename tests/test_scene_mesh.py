"""The user's own meshes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
import trimesh

from nanostream.errors import MeshError
from nanostream.scene.config import SceneConfig
from nanostream.scene.ensemble import build_ensemble
from nanostream.scene.mesh import MeshShape, load_solid
from nanostream.scene.solid import signed_volume

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("suffix", ["ply", "obj", "stl"])
def test_meshes_are_read_and_normalised(tmp_path: Path, suffix: str) -> None:
    """A box in any place, unit and format has unit volume-equivalent diameter about its centre."""
    path = tmp_path / f"box.{suffix}"
    mesh = trimesh.creation.box(extents=(3, 2, 1))
    mesh.apply_translation((50, 0, -7))
    mesh.export(path)
    solids = load_solid(path)
    assert signed_volume(solids.vertices, solids.faces)[0] == pytest.approx(np.pi / 6)
    assert np.ptp(solids.vertices[0], axis=0) == pytest.approx(np.array([3, 2, 1]) * np.cbrt(np.pi / 36), rel=1e-6)
    assert np.abs(solids.vertices.mean(axis=1)).max() < 1e-6
    assert (np.sum(solids.vertices * solids.normals, axis=-1) > 0).all()


def test_inverted_meshes_are_turned_out(tmp_path: Path) -> None:
    """A closed mesh whose faces look inward is taken with its faces outward."""
    path = tmp_path / "in.ply"
    mesh = trimesh.creation.icosphere(1)
    mesh.invert()
    mesh.export(path)
    solids = load_solid(path)
    assert signed_volume(solids.vertices, solids.faces)[0] > 0
    assert (np.sum(solids.vertices * solids.normals, axis=-1) > 0).all()


def test_ensemble_of_meshes(tmp_path: Path) -> None:
    """Particles made of files are closed and have the diameters that were drawn."""
    files = []
    for name, mesh in (
        ("box.obj", trimesh.creation.box(extents=(1, 2, 3))),
        ("ball.stl", trimesh.creation.icosphere(2)),
    ):
        mesh.export(tmp_path / name)
        files.append(str(tmp_path / name))
    config = SceneConfig.model_validate(
        {
            "shape": {"kind": "mesh", "files": files},
            "sizes": {"kind": "list", "values_nm": [100.0, 150.0]},
            "placement": {"kind": "agglomerates", "coverage": (0.3, 0.3)},
        }
    )
    e = build_ensemble(config, height_nm=1000, width_nm=1000, pixel_nm=5, rng=np.random.default_rng(0))
    assert len(e) > 5
    assert set(e.diameter_nm.tolist()) == {100.0, 150.0}
    for number in range(len(e)):
        faces = e.faces[e.particle == number]
        volume = signed_volume(e.vertices.astype(np.float64), faces.astype(np.int64))
        assert np.cbrt(6 / np.pi * volume) == pytest.approx(e.diameter_nm[number], rel=1e-3)
    assert e.vertices[:, 2].min() > -1


def test_digests_follow_the_content(tmp_path: Path) -> None:
    """A file's digest changes with its bytes, and so does the solid that is read from it."""
    path = tmp_path / "a.ply"
    trimesh.creation.box().export(path)
    shape = MeshShape(files=(path,))
    before = shape.digests()
    first = build_ensemble_of(shape)
    trimesh.creation.icosphere(2).export(path)
    os.utime(path, ns=(1, 1))
    assert shape.digests() != before
    assert len(shape.digests()[0]) == 64
    assert len(build_ensemble_of(shape)) != len(first)


def build_ensemble_of(shape: MeshShape) -> np.ndarray:
    """Faces of a picture full of the shape."""
    return build_ensemble(
        SceneConfig(shape=shape),
        height_nm=1000,
        width_nm=1000,
        pixel_nm=5,
        rng=np.random.default_rng(3),
    ).faces


def _open(path: Path) -> None:
    mesh = trimesh.creation.box()
    mesh.update_faces(np.arange(len(mesh.faces)) > 0)
    mesh.export(path)


def _not_finite(path: Path) -> None:
    text = str(trimesh.creation.box().export(file_type="obj")).splitlines()
    first = next(k for k, line in enumerate(text) if line.startswith("v "))
    path.write_text("\n".join([*text[:first], "v nan 0 0", *text[first + 1 :]]))


def _flat(path: Path) -> None:
    path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\nf 1 3 2\n")


BAD = {
    "missing.ply": (lambda path: None, "expected a mesh file at"),
    "no-faces.obj": (lambda path: path.write_text("v 0 0 0\nv 1 0 0\n"), "empty"),
    "zero-bytes.stl": (lambda path: path.write_bytes(b""), "expected"),
    "noise.ply": (lambda path: path.write_bytes(bytes(range(256))), "damaged data"),
    "noise.stl": (lambda path: path.write_bytes(bytes(range(256))), "expected"),
    "cut.ply": (
        lambda path: path.write_bytes(trimesh.creation.icosphere(2).export(file_type="ply")[:900]),
        "expected",
    ),
    "model.blend": (lambda path: path.write_bytes(b"x"), "expected a .ply, .obj or .stl file"),
    "open.ply": (_open, "closed"),
    "nan.obj": (_not_finite, "finite"),
    "flat.obj": (_flat, "encloses a volume"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_bad_meshes_give_one_sentence(tmp_path: Path, name: str) -> None:
    """A mesh that cannot be a particle gives a MeshError of one line with its path."""
    make, said = BAD[name]
    make(tmp_path / name)
    with pytest.raises(MeshError, match=said) as caught:
        load_solid(tmp_path / name)
    message = str(caught.value)
    assert message.startswith("expected ")
    assert str(tmp_path / name) in message
    assert "\n" not in message


def test_materials_beside_a_mesh_are_not_opened(tmp_path: Path) -> None:
    """An OBJ that names a material file is read without it."""
    path = tmp_path / "a.obj"
    text = str(trimesh.creation.box().export(file_type="obj", include_normals=False))
    path.write_text("mtllib nowhere.mtl\nusemtl x\n" + text)
    assert len(load_solid(path).faces) == 12
