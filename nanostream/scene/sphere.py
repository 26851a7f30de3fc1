"""Spheres, such as those of precipitated silica."""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
from pydantic import BaseModel

from nanostream.scene.solid import Solids, icosphere, signed_volume, unit_scale

__all__ = ["SphereShape", "sphere_solids"]


class SphereShape(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """Smooth balls."""

    kind: Literal["sphere"] = "sphere"


@functools.cache
def sphere_solids(parts: int) -> Solids:
    """One sphere on an icosphere of this many parts, blown up so that its volume is right."""
    directions, faces = icosphere(parts)
    vertices = directions * unit_scale(signed_volume(directions, faces))
    middle = np.linalg.norm(vertices[faces[:, :2]].mean(axis=1), axis=-1)
    return Solids(vertices[None], directions[None], faces, np.quantile(np.abs(0.5 - middle), [0.9]))
