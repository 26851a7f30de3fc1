"""`nanostream fit` without its command line: pictures and a method in; texture, recipe, card and report out."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import logging
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nanostream.errors import PictureError, StoreError
from nanostream.gan.check import Checker
from nanostream.gan.fit import Fit, FitConfig
from nanostream.gan.learned_fit import write_recipe
from nanostream.gan.patches import RealPatches
from nanostream.seeding import Purpose, generator

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from nanostream.gan.check import Check
    from nanostream.gan.fit import Progress, Trainer
    from nanostream.recipe import Recipe

__all__ = ["Fitted", "Method", "fit_texture", "set_aside"]

logger = logging.getLogger(__name__)

_ASIDE = 0.3
"""Share of the pictures that only choose the checkpoint."""
_LEAST_ASIDE = 2
_PATCHES = 1024
"""Real patches that are learned from."""
_TILE_PX = 256
"""Pictures are checked in tiles of this edge at most."""


class Method(Protocol):
    """What is learned in which scenes, and how it is rendered and written."""

    @property
    def name(self) -> str:
        """As on the command line."""
        ...

    @property
    def patch_px(self) -> int:
        """Edge of the patches that are learned from."""
        ...

    @property
    def pixel_nm(self) -> float:
        """Edge of a pixel in nm."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the weights, but for the pictures; plain JSON values."""
        ...

    def trainer(self, real: RealPatches) -> Trainer:
        """What learns from the patches."""
        ...

    def draw(self, texture: Any, *, tile_px: int) -> tuple[Sequence[npt.NDArray[Any]], Sequence[npt.NDArray[Any]]]:
        """Pictures and masks to check."""
        ...

    def save(self, texture: Any, card: dict[str, Any], path: pathlib.Path) -> Recipe:
        """Write the texture; returns a recipe that renders it."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """What a fit left. checks: all of them; best: the chosen one. ended: why it stopped. card: as in the file."""

    texture: pathlib.Path
    recipe: pathlib.Path
    best: Check
    checks: tuple[Check, ...]
    ended: str
    steps: int
    seconds: float
    card: dict[str, Any]


def fit_texture(
    pictures: Sequence[npt.NDArray[np.float32]],
    method: Method,
    config: FitConfig | None = None,
    *,
    out: pathlib.Path,
    about: str = "",
    on_progress: Callable[[Progress], None] | None = None,
) -> Fitted:
    """Learn a texture from pictures, (H, W) float32 in [0, 1] each, no smaller than a patch.

    Writes OUT.safetensors (texture with its card) and OUT.json (recipe), and keeps the run in OUT.run while it lasts:
    one that is found there goes on. The same pictures, method and settings give the same weights. Raises PictureError
    for too few or too small pictures, StoreError if nothing can be written, TextureError if it never settles.
    """
    config = config or FitConfig()
    fitted, aside = set_aside(pictures, patch_px=method.patch_px)
    seed = method.settings["trainer"]["seed"]
    real = RealPatches(fitted, patch_px=method.patch_px, count=_PATCHES, rng=generator(seed, 0, Purpose.TEXTURE))
    learner = method.trainer(real)
    tile_px = min(_TILE_PX, *(min(picture.shape) for picture in aside))
    draw = functools.partial(method.draw, tile_px=tile_px)
    checker = Checker(aside, draw, patch_px=method.patch_px, tile_px=tile_px)

    digest = _digest(pictures)
    identity = json.dumps([digest, method.name, method.settings, config.check_steps], sort_keys=True)
    kept = out.with_suffix(".run")
    _make(out.parent)
    fit = Fit(learner, checker, config, file=kept, identity=identity)
    if fit.resume():
        logger.info("going on from step %d of %s", learner.steps, kept)
    ended = fit.run(on_progress)
    progress = fit.progress
    card = {
        "method": method.name,
        "pictures": {"fitted": len(fitted), "aside": len(aside), "sha256": digest, "pixel_nm": method.pixel_nm},
        "settings": method.settings,
        "steps": fit.best.step,
        "score": fit.best.score,
        "measures": {name: {"value": value, "floor": floor} for name, (value, floor) in fit.best.measures.items()},
        "versions": {name: importlib.metadata.version(name) for name in ("nanostream", "torch", "mitsuba", "drjit")},
        "about": about,
    }
    texture, recipe = out.with_suffix(".safetensors"), out.with_suffix(".json")
    write_recipe(method.save(learner.texture(), card, texture), recipe, texture=texture)
    kept.unlink()
    return Fitted(
        texture=texture,
        recipe=recipe,
        best=fit.best,
        checks=tuple(fit.checks),
        ended=ended,
        steps=progress.steps,
        seconds=progress.seconds,
        card=card,
    )


def set_aside(
    pictures: Sequence[npt.NDArray[np.float32]], *, patch_px: int
) -> tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]]:
    """Pictures to learn from and pictures to choose by; of few, two thirds and the rest of each.

    Raises PictureError for none, and for pictures smaller than a patch.
    """
    if not pictures:
        msg = "expected pictures to learn from, got none: name a folder that has some"
        raise PictureError(msg)
    smallest = min(min(picture.shape) for picture in pictures)
    if smallest < patch_px:
        msg = f"expected pictures of at least {patch_px} pixels along each edge, got one of {smallest}"
        raise PictureError(msg + ": leave it out, or take a smaller --patch")
    count = round(_ASIDE * len(pictures))
    if count >= _LEAST_ASIDE:
        step = len(pictures) / count
        chosen = {int(step * (k + 0.5)) for k in range(count)}
        return (
            [picture for k, picture in enumerate(pictures) if k not in chosen],
            [picture for k, picture in enumerate(pictures) if k in chosen],
        )
    # Too few to spare any: each is cut, and a floor needs two parts to choose by.
    fitted, aside = [], []
    for picture in pictures:
        long = picture if picture.shape[0] >= picture.shape[1] else picture.T
        part = len(long) // 4 if len(pictures) == 1 else len(long) // 3
        rest = np.array_split(long[-2 * part :], 2) if len(pictures) == 1 else [long[-part:]]
        if part < patch_px:
            msg = f"expected more pictures, or larger ones than {picture.shape[0]}x{picture.shape[1]}, to choose by"
            raise PictureError(msg + f" what is not learned from, got {len(pictures)}: add pictures")
        parts = [long[: len(long) - part * len(rest)], *rest]
        kept, *others = parts if long is picture else [each.T for each in parts]
        fitted.append(kept)
        aside += others
    return fitted, aside


def _digest(pictures: Sequence[npt.NDArray[np.float32]]) -> str:
    sha = hashlib.sha256()
    for picture in pictures:
        sha.update(f"{picture.shape}".encode())
        sha.update(np.ascontiguousarray(picture).tobytes())
    return sha.hexdigest()


def _make(folder: pathlib.Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"expected to write to the folder {folder}, but it cannot be made: {error}"
        raise StoreError(msg) from error
