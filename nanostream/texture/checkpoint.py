"""A generator at rest: safetensors with a JSON header. Reading one runs no code.

Legend: n = particles of the generator's input, h = width of the hidden layers, k = outputs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import pydantic

from nanostream.errors import StoreError, TextureError
from nanostream.files import whole_file
from nanostream.scene.published import PublishedOptics, PublishedPlacement
from nanostream.texture.parameters import PARAMETERS, Bounds, Material

if TYPE_CHECKING:
    import pathlib

    import numpy.typing as npt

__all__ = ["LAYERS", "Checkpoint", "Layer", "Spec", "check_layers", "file_digest", "load_checkpoint", "save_checkpoint"]

LAYERS = 5
"""Four hidden layers and the output's."""

_HEADER = "nanostream"
_MOST_HEADER_BYTES = 1_000_000
_PARTS = ("direction", "magnitude", "bias")

_Names = tuple[Annotated[str, pydantic.Field(json_schema_extra={"enum": list(PARAMETERS)})], ...]


class Spec(pydantic.BaseModel):
    """Everything of a generator but its weights."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    kind: Literal["texture-generator"] = "texture-generator"
    version: Literal[1] = 1
    """Of the file format."""
    name: str
    """What was learned, such as the published checkpoint's name."""
    particles: Annotated[int, pydantic.Field(ge=1, le=100_000)]
    """n: the generator reads x, y, z, r of each."""
    hidden: Annotated[int, pydantic.Field(ge=1, le=65_536)]
    """h: width of the four hidden layers."""
    learned_stage: _Names
    """The stage's learned parameters, in the order of the outputs."""
    learned_particle: _Names
    """The particles' learned parameters, in the order of the outputs; behind them comes the noise."""
    stage_bounds: Bounds
    particle_bounds: Bounds
    noise_bounds: Bounds
    stage: Material
    """The stage's constants; 0 where a parameter is learned."""
    particle: Material
    """The particles' constants; 0 where a parameter is learned."""
    placement: PublishedPlacement
    """How the particles were placed that the generator was trained with."""
    optics: PublishedOptics
    """The lights and film that it was trained with."""
    mesh_set: str
    """Name of the mesh set that it was trained with."""
    meshes: tuple[str, ...] = ()
    """The set's files in the order of the input, if they are known."""
    source: str = ""
    """Where the weights come from."""
    citation: str = ""
    """What to cite."""
    licence: str = ""
    """Licence of the weights."""

    @pydantic.field_validator("learned_stage", "learned_particle")
    @classmethod
    def _in_order(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if list(names) != [name for name in PARAMETERS if name in names]:
            msg = f"expected different names out of {', '.join(PARAMETERS)}, in this order, got {', '.join(names)}"
            raise ValueError(msg)
        return names

    @property
    def outputs(self) -> tuple[str, ...]:
        """(k,) names of the outputs, such as `stage.base_color`, `particle.sheen` and `noise_std`."""
        return (
            *(f"stage.{name}" for name in self.learned_stage),
            *(f"particle.{name}" for name in self.learned_particle),
            "noise_std",
        )

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(rows, columns) of each layer's weights."""
        widths = [4 * self.particles, *[self.hidden] * (LAYERS - 1), len(self.outputs)]
        return list(zip(widths[1:], widths[:-1], strict=True))


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A linear layer whose weights are direction * magnitude / |direction|, row by row (weight normalisation).

    direction: (rows, columns), magnitude: (rows, 1), bias: (rows,), all float32.
    """

    direction: npt.NDArray[np.float32]
    magnitude: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]

    def weight(self) -> npt.NDArray[np.float64]:
        """(rows, columns) float64 weights."""
        direction = self.direction.astype(np.float64)
        return self.magnitude * direction / np.linalg.norm(direction, axis=1, keepdims=True)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A generator's description and weights; raises TextureError if they do not fit each other."""

    spec: Spec
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        """Check the weights' shapes, types and values."""
        check_layers(self.layers, self.spec)


def check_layers(layers: tuple[Layer, ...], spec: Spec) -> None:
    """Raise TextureError unless the layers have the shapes of the description and finite, usable values."""
    if len(layers) != LAYERS:
        msg = f"expected a generator of {LAYERS} layers, got {len(layers)}: the weights belong to another network"
        raise TextureError(msg)
    for number, (layer, (rows, columns)) in enumerate(zip(layers, spec.shapes, strict=True), start=1):
        for part, shape in zip(_PARTS, ((rows, columns), (rows, 1), (rows,)), strict=True):
            array = getattr(layer, part)
            where = f"the {part} of layer {number}"
            if array.dtype != np.float32 or array.shape != shape:
                msg = (
                    f"expected {where} to be float32 {shape}, got {array.dtype} {array.shape}: "
                    "the weights belong to another network, mesh set or settings file"
                )
                raise TextureError(msg)
            if not np.isfinite(array).all():
                msg = f"expected {where} to be finite, got NaN or infinity: the file is damaged or training diverged"
                raise TextureError(msg)
        if not np.linalg.norm(layer.direction, axis=1).all():
            msg = f"expected every row of the direction of layer {number} to have a length, got 0: the file is damaged"
            raise TextureError(msg)


def save_checkpoint(checkpoint: Checkpoint, path: pathlib.Path, *, overwrite: bool = False) -> str:
    """Write the generator and return the file's SHA-256; the same generator gives the same bytes.

    Raises StoreError if the file exists and `overwrite` is False, or if it cannot be written.
    """
    import safetensors.numpy

    if path.exists() and not overwrite:
        msg = f"expected no file at {path}, but there is one: choose another name or pass --overwrite"
        raise StoreError(msg)
    tensors = {
        f"layer{number}.{part}": np.ascontiguousarray(getattr(layer, part))
        for number, layer in enumerate(checkpoint.layers, start=1)
        for part in _PARTS
    }
    content = safetensors.numpy.save(tensors, metadata={_HEADER: checkpoint.spec.model_dump_json()})
    with whole_file(path) as partial:
        partial.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def load_checkpoint(path: pathlib.Path) -> Checkpoint:
    """Read a generator; raises TextureError in one sentence if the file is anything else."""
    import safetensors

    try:
        with safetensors.safe_open(path, framework="np") as file:  # pyright: ignore[reportAttributeAccessIssue]
            header = (file.metadata() or {}).get(_HEADER)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, ValueError, TypeError, safetensors.SafetensorError) as error:
        msg = f"expected a nanostream texture (safetensors) at {path}, but it cannot be read: {error}"
        raise TextureError(msg) from error
    spec = _spec(header, path)
    wanted = {f"layer{number}.{part}" for number in range(1, LAYERS + 1) for part in _PARTS}
    if set(tensors) != wanted:
        odd = min(set(tensors) ^ wanted)
        msg = f"expected a generator of {LAYERS} layers in {path}, got a file that differs in {odd!r}: use another file"
        raise TextureError(msg)
    layers = tuple(Layer(*(tensors[f"layer{number}.{part}"] for part in _PARTS)) for number in range(1, LAYERS + 1))
    try:
        return Checkpoint(spec, layers)
    except TextureError as error:
        msg = f"{path}: {error}"
        raise TextureError(msg) from error


def file_digest(path: pathlib.Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits; raises TextureError if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        msg = f"expected a texture file at {path}, but it cannot be read ({error}): check the path"
        raise TextureError(msg) from error


def _spec(header: str | None, path: pathlib.Path) -> Spec:
    if header is None or len(header) > _MOST_HEADER_BYTES:
        msg = f"expected a nanostream texture at {path}, got safetensors without its header: import the weights anew"
        raise TextureError(msg)
    try:
        version = json.loads(header).get("version")
        if version != 1:
            msg = f"expected a texture file of version 1 at {path}, got {version!r}: update nanostream or import anew"
            raise TextureError(msg)
        return Spec.model_validate_json(header)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        msg = f"expected a texture's description in {path}, got a wrong {where} ({first['msg']}): import it anew"
        raise TextureError(msg) from error
    except (ValueError, AttributeError) as error:
        msg = f"expected a texture's description in JSON in {path}, got something else ({error}): import it anew"
        raise TextureError(msg) from error
