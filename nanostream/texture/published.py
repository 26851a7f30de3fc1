"""Reads generators published with DiffRenderGAN: NAME.pth (weights) and NAME.json (settings).

The weights are a torch file, which is a pickle; it is read with `weights_only`, so that no code in it runs.
Source: Possart et al. 2025, doi:10.1038/s41524-025-01702-6, github.com/dpossart/DiffRenderGAN (MIT).
"""

from __future__ import annotations

import json
import pathlib
import pickle
from typing import Any

import numpy as np
import pydantic

from nanostream.errors import TextureError
from nanostream.scene.published import PublishedOptics, PublishedPlacement
from nanostream.texture.checkpoint import LAYERS, Checkpoint, Layer, Spec
from nanostream.texture.parameters import PARAMETERS, Bounds, Material

__all__ = ["read_published", "read_settings"]

_SOURCE = "github.com/dpossart/DiffRenderGAN"
_CITATION = "Possart et al., npj Comput. Mater. 11:197 (2025), doi:10.1038/s41524-025-01702-6"
_LICENCE = "MIT"

_LAYER_NAMES = tuple(f"params_model.{name}" for name in ("fc1", "fc2", "fc3", "fc4", "output_layer.0"))
_PARTS = ("weight_v", "weight_g", "bias")

_RADII = {"lognormal": "lognormal_params", "bimodal": "bimodal_params", "gaussian": "gaussian_params"}


def read_published(weights: pathlib.Path, settings: pathlib.Path, *, meshes: tuple[str, ...] = ()) -> Checkpoint:
    """The generator in the two files, checked; meshes: the files of its mesh set, if they are known.

    Raises TextureError in one sentence for pickled code, missing weights or fields, other shapes, values that
    are not finite, and limits whose least value is not below the greatest.
    """
    layers = _read_weights(weights)
    n, rest = divmod(layers[0].direction.shape[1], 4)
    if rest:
        msg = f"expected x, y, z and r of each particle as inputs in {weights}, got {4 * n + rest} inputs"
        msg += ": the weights belong to another network"
        raise TextureError(msg)
    spec = read_settings(settings, name=weights.stem, particles=n, meshes=meshes)
    try:
        return Checkpoint(spec, layers)
    except TextureError as error:
        msg = f"{weights} with {settings.name}: {error}"
        raise TextureError(msg) from error


def _read_weights(path: pathlib.Path) -> tuple[Layer, ...]:
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        msg = (
            f"expected nothing but weights in {path}, got a file that holds other pickled objects or code "
            "(it was not run) or that is damaged: save it as a state_dict of tensors"
        )
        raise TextureError(msg) from error
    except Exception as error:  # torch's reader meets a damaged file with nearly any exception
        reason = (str(error) or type(error).__name__).splitlines()[0]
        msg = f"expected a torch file of weights at {path}, but it cannot be read: {reason}"
        raise TextureError(msg) from error
    wanted = [f"{layer}.{part}" for layer in _LAYER_NAMES for part in _PARTS]
    odd = sorted(set(state) ^ set(wanted), key=str) if isinstance(state, dict) else ["everything"]
    if odd:
        msg = f"expected the {len(wanted)} weights of a published generator in {path}, got a file that differs in"
        msg += f" {odd[0]!r}: the weights belong to another network"
        raise TextureError(msg)
    for name in wanted:
        if not isinstance(state[name], torch.Tensor) or state[name].dtype != torch.float32:
            msg = f"expected {name} in {path} to be a float32 tensor, got something else: save the weights anew"
            raise TextureError(msg)
        if state[name].ndim != (1 if name.endswith("bias") else 2):
            msg = f"expected {name} in {path} to have rows and columns, got shape {tuple(state[name].shape)}"
            msg += ": the weights belong to another network"
            raise TextureError(msg)
    layers = tuple(Layer(*(np.asarray(state[f"{name}.{part}"].numpy()) for part in _PARTS)) for name in _LAYER_NAMES)
    assert len(layers) == LAYERS
    return layers


def read_settings(path: pathlib.Path, *, name: str, particles: int, meshes: tuple[str, ...]) -> Spec:
    """The settings alone: what is learned, within which bounds, in which scenes; raises TextureError as above."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"expected a generator's settings in JSON at {path}, but they cannot be read: {error}"
        raise TextureError(msg) from error
    if meshes and len(meshes) != particles:
        msg = f"expected {particles} mesh files, as many as {name} has particles, got {len(meshes)}: use its own set"
        raise TextureError(msg)
    try:
        mesh = _Fields(values, "mesh_dict")
        scene = _Fields(values, "scene_param_dict")
        spec = _spec(mesh, scene, name=name, particles=particles, meshes=meshes)
        mesh.check_empty()
        scene.check_empty()
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join([error.title, *(str(part) for part in first["loc"])])
        msg = f"{path}: wrong value in {where}: {first['msg']}, got {first['input']!r}"[:400]
        msg += "; correct the settings"
        raise TextureError(msg) from error
    except _FieldError as error:
        msg = f"{path}: {error}; use the settings that belong to the weights"
        raise TextureError(msg) from error
    return spec


def _spec(mesh: _Fields, scene: _Fields, *, name: str, particles: int, meshes: tuple[str, ...]) -> Spec:
    sizes = mesh.take("mesh_size_dist")
    if not isinstance(sizes, str) or sizes not in _RADII:
        msg = f"expected mesh_size_dist to be one of {', '.join(_RADII)}, got {sizes!r}"
        raise _FieldError(msg)
    radii = mesh.take(_RADII[sizes])
    if not isinstance(radii, dict):
        msg = f"expected {_RADII[sizes]} to hold the distribution's numbers, got {radii!r}"
        raise _FieldError(msg)
    stage, learned_stage = _surface(scene, "s")
    particle, learned_particle = _surface(scene, "p")
    return Spec.model_validate(
        {
            "name": name,
            "particles": particles,
            "hidden": scene.take("n_hidden"),
            "learned_stage": learned_stage,
            "learned_particle": learned_particle,
            "stage_bounds": _bounds(scene, "stage_bsdf_limit"),
            "particle_bounds": _bounds(scene, "particle_bsdf_limit"),
            "noise_bounds": _bounds(scene, "noise_limit"),
            "stage": stage,
            "particle": particle,
            "placement": PublishedPlacement.model_validate(
                {
                    "radii": {"kind": sizes, **radii},
                    "mesh_unit": mesh.take("mesh_unit"),
                    "mesh_scale": mesh.take("mesh_scale"),
                    "base_limit": mesh.take("mesh_base_sample_limit"),
                    "in_depth": mesh.take("mesh_position3d"),
                    "agglomerates": mesh.take("mesh_max_agglomerates"),
                    "method": mesh.take("particle_placement"),
                }
            ),
            "optics": PublishedOptics.model_validate(
                {
                    "upper_radiance": scene.take("emission1"),
                    "lower_radiance": scene.take("emission2"),
                    "samples_per_pixel": scene.take("spp"),
                    "filter_px": scene.take("gaussdev"),
                }
            ),
            "mesh_set": pathlib.PurePosixPath(str(mesh.take("mesh_path"))).name,
            "meshes": meshes,
            "source": _SOURCE,
            "citation": _CITATION,
            "licence": _LICENCE,
        }
    )


def _surface(scene: _Fields, letter: str) -> tuple[Material, list[str]]:
    """Constants of a surface, and the names of its learned parameters: those that the settings give as negative."""
    values = {name: scene.take(f"{letter}_{name}") for name in PARAMETERS}
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            msg = f"expected {letter}_{name} to be a number, got {value!r}"
            raise _FieldError(msg)
    learned = [name for name, value in values.items() if value < 0]
    return Material(**{name: value for name, value in values.items() if name not in learned}), learned


def _bounds(scene: _Fields, name: str) -> Bounds:
    return Bounds.model_validate({"low": scene.take(f"{name}_min"), "high": scene.take(f"{name}_max")})


class _FieldError(Exception):
    """A field is missing, unknown or of the wrong kind."""


class _Fields:
    """One part of the settings, from which each field is taken once."""

    def __init__(self, values: object, part: str) -> None:
        fields = values.get(part) if isinstance(values, dict) else None
        if not isinstance(fields, dict):
            msg = f"expected a part {part!r} with fields, found none"
            raise _FieldError(msg)
        self._part = part
        self._left: dict[str, Any] = dict(fields)

    def take(self, name: str) -> Any:
        if name not in self._left:
            msg = f"expected the field {self._part}.{name}, found none"
            raise _FieldError(msg)
        return self._left.pop(name)

    def check_empty(self) -> None:
        for name in self._left:
            msg = f"found the unknown field {self._part}.{name}"
            raise _FieldError(msg)
