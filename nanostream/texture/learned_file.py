"""A learned texture at rest: safetensors whose header holds its effects and its card. Reading one runs no code."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.resources
import json
import pathlib
from typing import Any, Literal

import numpy as np
import pydantic

from nanostream.errors import TextureError
from nanostream.files import whole_file
from nanostream.texture.effects import Effect
from nanostream.texture.latent import TENSORS, LatentMap

__all__ = ["SHIPPED", "LearnedFile", "load_learned", "save_learned", "texture_path"]

SHIPPED = "nanostream:"
"""A path that starts so names a file among the presets."""

_HEADER = "nanostream"
_MOST_HEADER_BYTES = 1_000_000


class _Header(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    kind: Literal["learned-texture"] = "learned-texture"
    version: Literal[1] = 1
    effects: dict[str, Effect]
    card: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LearnedFile:
    """card: what it was learned from and how, plain JSON values."""

    latent: LatentMap
    card: dict[str, Any]


def texture_path(path: pathlib.Path) -> pathlib.Path:
    """Where the file lies: as it says, or among the presets."""
    name = str(path)
    if name.startswith(SHIPPED):
        return pathlib.Path(str(importlib.resources.files("nanostream") / "presets" / name.removeprefix(SHIPPED)))
    return path


def save_learned(texture: LearnedFile, path: pathlib.Path) -> str:
    """Write the texture over what is there; returns the file's SHA-256. The same texture gives the same bytes.

    Raises StoreError if it cannot be written.
    """
    import safetensors.numpy

    latent = texture.latent
    header = _Header(effects=dict(latent.effects), card=texture.card).model_dump_json()
    tensors = {name: np.ascontiguousarray(getattr(latent, name)) for name in TENSORS}
    content = safetensors.numpy.save(tensors, metadata={_HEADER: header})
    with whole_file(path) as partial:
        partial.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def load_learned(path: pathlib.Path) -> LearnedFile:
    """Read a texture; raises TextureError in one sentence if the file is anything else."""
    import safetensors

    path = texture_path(path)
    try:
        with safetensors.safe_open(path, framework="np") as file:  # pyright: ignore[reportAttributeAccessIssue]
            header = (file.metadata() or {}).get(_HEADER, "")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, ValueError, TypeError, safetensors.SafetensorError) as error:
        msg = f"expected a learned texture (safetensors) at {path}, but it cannot be read: {error}"
        raise TextureError(msg) from error
    if not header or len(header) > _MOST_HEADER_BYTES or set(tensors) != set(TENSORS):
        msg = f"expected a learned texture at {path}, got a safetensors file of something else: fit one"
        raise TextureError(msg)
    try:
        found = _Header.model_validate(json.loads(header))
        return LearnedFile(LatentMap(effects=found.effects, **tensors), found.card)
    except (ValueError, TextureError) as error:
        reason = error.errors(include_url=False)[0]["msg"] if isinstance(error, pydantic.ValidationError) else error
        msg = f"expected a learned texture at {path}, got a wrong one ({reason}): fit it anew"
        raise TextureError(msg) from error
