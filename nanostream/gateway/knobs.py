"""What a client may vary in a recipe, and how far: numbers alone, never a file, a size or a count of rays.

A client names a variant where the recipe's name stands: `tio2-sem,scene.sizes.median_nm=120`. The whole of
it is in the address, so any server that offers the recipe gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from typing import TYPE_CHECKING, Any

from nanostream.errors import RecipeError

if TYPE_CHECKING:
    from nanostream.recipe import Recipe

__all__ = ["Knob", "knobs_of", "parse_variant"]

_KNOBS = {
    "scene.sizes.median_nm": ("median diameter, nm", 0.6, 1.6),
    "scene.sizes.sigma": ("spread of the diameters", 0.5, 1.5),
    "scene.sizes.first.median_nm": ("median diameter of the first kind, nm", 0.7, 1.4),
    "scene.sizes.second.median_nm": ("median diameter of the second kind, nm", 0.7, 1.4),
    "scene.placement.cluster_median": ("particles in a cluster", 0.5, 2.0),
    "texture.particle.base_color.mean": ("brightness of the particles", 0.5, 1.5),
    "texture.ground.base_color.mean": ("brightness of the ground", 0.5, 1.5),
    "texture.particle.rim.mean": ("bright rims", 0.25, 2.0),
    "detector.blur_px.mean": ("blur, pixels", 0.5, 2.0),
    "detector.gain.mean": ("gain", 0.7, 1.4),
    "detector.shot_noise.mean": ("shot noise", 0.25, 4.0),
    "detector.read_noise.mean": ("read-out noise", 0.25, 4.0),
}
"""Field, what it is, and its bounds as multiples of the recipe's own value."""

_ASSIGNMENT = re.compile(r"([a-z_.]{1,80})=(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)")
_MOST = len(_KNOBS)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """A field, what it is, its own value, and its least and greatest."""

    field: str
    label: str
    value: float
    least: float
    most: float


def knobs_of(recipe: Any) -> list[Knob]:
    """What may be varied in a recipe."""
    values = json.loads(recipe.dump())
    knobs = []
    for field, (label, low, high) in _KNOBS.items():
        if field.startswith("detector.") and values.get("texture", {}).get("kind") == "learned":
            # It brings its own.
            continue
        *parents, last = field.split(".")
        parent: Any = values
        for part in parents:
            parent = parent.get(part) if isinstance(parent, dict) else None
        value = parent.get(last) if isinstance(parent, dict) else None
        if not isinstance(value, int | float) or value <= 0:
            continue
        least, most = low * value, high * value
        # A mean has to lie between the limits of its distribution.
        if last == "mean" and isinstance(parent, dict):
            least = max(least, -math.inf if parent.get("low") is None else parent["low"])
            most = min(most, math.inf if parent.get("high") is None else parent["high"])
        knobs.append(Knob(field=field, label=label, value=value, least=_round(least), most=_round(most)))
    return knobs


def parse_variant(recipe: Recipe, assignments: list[str]) -> Recipe:
    """The recipe with fields set, as `scene.sizes.median_nm=120`; RecipeError for what is out of bounds."""
    bounds = {knob.field: knob for knob in knobs_of(recipe)}
    if len(assignments) > _MOST:
        msg = f"expected at most {_MOST} fields, got {len(assignments)}; name each once"
        raise RecipeError(msg)
    seen = set()
    for assignment in assignments:
        found = _ASSIGNMENT.fullmatch(assignment)
        knob = bounds.get(found[1]) if found else None
        if found is None or knob is None or knob.field in seen:
            msg = (
                f"expected FIELD=NUMBER with each field once, one of {', '.join(bounds) or 'none'}, "
                f"got {assignment[:100]!r}"
            )
            raise RecipeError(msg)
        seen.add(knob.field)
        if not knob.least <= float(found[2]) <= knob.most:
            msg = f"expected {knob.field} from {knob.least:g} to {knob.most:g}, got {found[2]}"
            raise RecipeError(msg)
    # One order of the fields: the same variant has one name for the workers that keep it.
    return recipe.replaced(*sorted(assignments))


def _round(value: float) -> float:
    return float(f"{value:.4g}")
