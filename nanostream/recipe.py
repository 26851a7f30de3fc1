"""All that decides the pixels, as one frozen, validated and hashable value.

A recipe is data: JSON with pydantic behind it, a few files by path (meshes, a texture's weights) and no code.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib.resources
import json
import pathlib
from typing import Annotated, Any, Self

import pydantic

from nanostream.errors import RecipeError
from nanostream.render import backend as render_backend
from nanostream.render.camera import Camera
from nanostream.render.detector import Detector
from nanostream.scene.config import SceneConfig
from nanostream.scene.published import PublishedSceneConfig
from nanostream.texture.distribution import DistributionTexture
from nanostream.texture.generator import GeneratorTexture
from nanostream.texture.learned import LearnedTexture
from nanostream.texture.learned_file import SHIPPED, texture_path

__all__ = ["PIXELS_VERSION", "Picture", "Recipe", "preset_names"]

PIXELS_VERSION = 5
"""Raised by every change of nanostream that changes a pixel of any recipe."""

_FILE_FIELDS = {"file", "files", "folder"}


class Picture(pydantic.BaseModel):
    """Size of the picture."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    height: int = pydantic.Field(default=256, ge=1, le=16384)
    """Rows."""
    width: int = pydantic.Field(default=256, ge=1, le=16384)
    """Columns."""
    pixel_nm: float = pydantic.Field(gt=0)
    """Edge of a pixel in nm."""


class Recipe(pydantic.BaseModel):
    """Scene, texture, camera, detector and picture size; equal recipes have equal hashes."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    name: str = pydantic.Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Lower case letters, digits and hyphens."""
    version: int = pydantic.Field(default=1, ge=1)
    """Raised when the recipe's numbers change."""
    about: str = ""
    """Where the numbers come from."""
    picture: Picture
    """Size of the picture."""
    scene: Annotated[SceneConfig | PublishedSceneConfig, pydantic.Discriminator("kind")]
    """The particles: shapes, sizes, places."""
    texture: Annotated[DistributionTexture | GeneratorTexture | LearnedTexture, pydantic.Discriminator("kind")]
    """How their surfaces look."""
    camera: Camera = Camera()
    """Samples a pixel."""
    detector: Detector = Detector()
    """Blur, gain and noise; a learned texture brings its own."""

    @pydantic.model_validator(mode="after")
    def _fitting(self) -> Self:
        if (self.scene.kind == "published") != (self.texture.kind == "generator"):
            msg = (
                "expected a published scene with a generator's texture, or a particle scene with another, "
                f"got scene {self.scene.kind!r} with texture {self.texture.kind!r}"
            )
            raise ValueError(msg)
        if self.texture.kind == "learned" and self.detector != Detector():
            msg = "expected no detector beside a learned texture, which brings its own: hold values by texture.fixed"
            raise ValueError(msg)
        return self

    def __hash__(self) -> int:
        return hash(self.dump())

    @classmethod
    def preset(cls, name: str) -> Self:
        """The recipe of that name that ships with the package; RecipeError names the nearest if there is none."""
        names = preset_names()
        if name not in names:
            near = difflib.get_close_matches(name, names, 1, 0.3)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            msg = f"expected a preset, one of {', '.join(names)}, got {name!r}{hint}"
            raise RecipeError(msg)
        return cls.parse((importlib.resources.files("nanostream") / "presets" / f"{name}.json").read_text("utf-8"))

    @classmethod
    def load(cls, path: str | pathlib.Path) -> Self:
        """The recipe in a JSON file; paths inside are relative to the file."""
        path = pathlib.Path(path)
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            msg = f"expected a recipe in JSON at {path}, but it cannot be read: {error}"
            raise RecipeError(msg) from error
        return cls.parse(text, folder=path.parent.resolve())

    @classmethod
    def named(cls, preset_or_path: str) -> Self:
        """The recipe in a file if the text ends in `.json`, else the preset of that name."""
        return cls.load(preset_or_path) if preset_or_path.endswith(".json") else cls.preset(preset_or_path)

    @classmethod
    def parse(cls, text: str, *, folder: pathlib.Path | None = None) -> Self:
        """The recipe in a JSON text; `folder` is what relative paths inside start from."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            msg = f"expected a recipe in JSON, got text that is none: {error}"
            raise RecipeError(msg) from error
        return cls._validated(values if folder is None else _absolute(values, folder))

    def replaced(self, *assignments: str) -> Self:
        """A copy with fields set, as `scene.sizes.median_nm=120`; values are JSON, or else text."""
        values = json.loads(self.dump())
        for assignment in assignments:
            path, equals, text = assignment.partition("=")
            if not equals:
                msg = f"expected FIELD=VALUE, such as scene.sizes.median_nm=120, got {assignment!r}"
                raise RecipeError(msg)
            _assign(values, path.strip(), text.strip())
        return self._validated(values)

    def dump(self) -> str:
        """The recipe as JSON; `parse` reads it back."""
        return self.model_dump_json(indent=2)

    @property
    def hash(self) -> str:
        """32 hexadecimal digits over every field and the contents of every file that the recipe names."""
        return _recipe_hash(self)

    def build_hash(self, backend: str) -> str:
        """32 hexadecimal digits over what else decides the pixels: our version, Mitsuba's, Dr.Jit's, the backend."""
        versions = render_backend.versions()
        return _digest({"pixels": PIXELS_VERSION, "backend": backend, **versions})

    @classmethod
    def _validated(cls, values: object) -> Self:
        try:
            return cls.model_validate_json(json.dumps(values))
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the recipe"
            msg = f"recipe field {where}: {first['msg']}, got {first['input']!r}"[:500]
            raise RecipeError(msg) from error


def preset_names() -> list[str]:
    """Names of the presets that ship with the package."""
    folder = importlib.resources.files("nanostream") / "presets"
    return sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))


@functools.lru_cache(maxsize=64)
def _recipe_hash(recipe: Recipe) -> str:
    return _digest(_contents(recipe.model_dump(mode="python")))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()[:32]


def _contents(value: Any) -> Any:
    """The value with each path replaced by the hash of what lies there: a recipe may move with its files."""
    if isinstance(value, dict):
        return {key: _contents(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_contents(item) for item in value]
    if isinstance(value, pathlib.Path):
        value = texture_path(value)
        if value.is_dir():
            return {file.name: _contents(file) for file in sorted(value.iterdir()) if file.is_file()}
        try:
            return hashlib.sha256(value.read_bytes()).hexdigest()
        except OSError as error:
            msg = f"expected a readable file at {value}, which the recipe names: {error}"
            raise RecipeError(msg) from error
    return value


def _absolute(value: Any, folder: pathlib.Path, *, is_path: bool = False) -> Any:
    if isinstance(value, dict):
        return {key: _absolute(item, folder, is_path=key in _FILE_FIELDS) for key, item in value.items()}
    if isinstance(value, list):
        return [_absolute(item, folder, is_path=is_path) for item in value]
    return str(folder / value) if is_path and isinstance(value, str) and not value.startswith(SHIPPED) else value


def _assign(values: Any, path: str, text: str) -> None:
    *parents, last = path.split(".")
    for part in parents:
        if not isinstance(values, dict) or part not in values:
            msg = f"recipe field {path}: there is no {part!r} there"
            raise RecipeError(msg)
        values = values[part]
    if not isinstance(values, dict):
        msg = f"recipe field {path}: there is no {last!r} there"
        raise RecipeError(msg)
    try:
        values[last] = json.loads(text)
    except json.JSONDecodeError:
        values[last] = text
