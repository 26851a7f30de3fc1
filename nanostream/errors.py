"""Every error that nanostream raises on purpose.

Each message is one sentence or two: what was expected, what came, what to do.

    NanostreamError
    ├── RecipeError          a recipe with a wrong, missing or unknown field; an unknown preset
    ├── MeshError            a mesh that is empty, open or not finite
    ├── ModelError           a model file of another kind, version or shape
    ├── TextureError         a checkpoint or texture file with other shapes, or with pickled code
    ├── SampleIndexError     an index or seed out of range
    ├── BackendError         no backend that can render here
    ├── RenderError          a sample that could not be rendered; names recipe, seed and index
    ├── StreamError          an engine that cannot go on
    │   ├── StateError       a state of another recipe, seed or world
    │   └── ForkError        a process forked from one that holds Ray or a renderer
    ├── StoreError           a folder that exists, a full disk, a damaged shard
    └── PictureError         a picture or mask that cannot be read or does not fit
"""

from __future__ import annotations

__all__ = [
    "BackendError",
    "ForkError",
    "MeshError",
    "ModelError",
    "NanostreamError",
    "PictureError",
    "RecipeError",
    "RenderError",
    "SampleIndexError",
    "StateError",
    "StoreError",
    "StreamError",
    "TextureError",
]


class NanostreamError(Exception):
    """Root of every error raised on purpose."""


class RecipeError(NanostreamError, ValueError):
    """A recipe does not validate, or a preset is unknown."""


class MeshError(NanostreamError, ValueError):
    """A mesh cannot be a particle."""


class ModelError(NanostreamError, ValueError):
    """A model file is not what it should be, or a network cannot be built."""


class TextureError(NanostreamError, ValueError):
    """A texture file is not what it should be."""


class SampleIndexError(NanostreamError, ValueError):
    """An index or a seed is out of range."""


class BackendError(NanostreamError, RuntimeError):
    """No backend can render on this machine."""


class RenderError(NanostreamError, RuntimeError):
    """One sample could not be rendered."""


class StreamError(NanostreamError, RuntimeError):
    """An engine cannot go on."""


class StateError(StreamError, ValueError):
    """A state belongs to another recipe, seed or world."""


class ForkError(StreamError):
    """The process was forked from one that holds Ray or a renderer."""


class StoreError(NanostreamError, OSError):
    """Samples at rest cannot be written or read."""


class PictureError(NanostreamError, ValueError):
    """A picture or a mask cannot be read, or does not fit."""
