"""The report of a finished fit: its pictures rendered, measured against the real ones and laid side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nanostream.gan.realism import Realism, measure
from nanostream.gan.report import write_report
from nanostream.recipe import Recipe
from nanostream.scene.published import place
from nanostream.scene.sizes import draw_sizes
from nanostream.synth import Synth
from nanostream.texture.generator import GeneratorTexture
from nanostream.texture.learned import LearnedTexture
from nanostream.texture.learned_file import load_learned

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    import numpy.typing as npt

    from nanostream.gan.run import Fitted

__all__ = ["report_fit"]

_PICTURES = 20
_MOST_PX = 512
"""Rendered pictures are as large as the real ones, up to this: clusters leave some tiles of large pictures empty."""
_DRAWS = 1000
_SEED = 2**42


def report_fit(
    fitted: Fitted,
    pictures: Sequence[npt.NDArray[np.float32]],
    path: pathlib.Path,
    *,
    two_sample: bool = True,
    notes: Sequence[str] = (),
) -> Realism:
    """Write the report of a fit to those pictures, with all measures of realism, which are returned.

    two_sample: whether a network is trained to tell the pictures apart, over a minute on one core. Raises PictureError
    if a picture is smaller than 128x128 pixels, StoreError if nothing can be written.
    """
    recipe = Recipe.load(fitted.recipe)
    rng = np.random.default_rng(_SEED)
    sizes = None
    if recipe.scene.kind == "particles":
        edge = min(_MOST_PX, *(min(picture.shape) for picture in pictures))
        recipe = recipe.replaced(f"picture.height={edge}", f"picture.width={edge}")
        sizes = draw_sizes(recipe.scene.sizes, _DRAWS, rng)  # pyright: ignore[reportAttributeAccessIssue]
    synth = Synth(recipe)
    rendered = [synth.render(seed=_SEED, index=index).image for index in range(_PICTURES)]
    realism = measure(pictures, rendered, two_sample=two_sample)
    card = fitted.card
    history = [
        {"step": float(check.step), "score": check.score} | {name: value for name, (value, _) in check.measures.items()}
        for check in fitted.checks
    ]
    write_report(
        path,
        real=pictures,
        rendered=rendered,
        realism=realism,
        parameters=_parameters(recipe, rng),
        sizes_nm=sizes,
        history=history,
        chosen_step=fitted.best.step,
        settings={
            "method": card["method"],
            "pictures": f"{card['pictures']['fitted']} learned from, {card['pictures']['aside']} to choose by",
            "pictures' sha256": card["pictures"]["sha256"],
            "pixel": f"{card['pictures']['pixel_nm']:.4g} nm",
            "steps": f"{fitted.steps}, of which {fitted.best.step} were kept; {fitted.ended}",
            "time": f"{fitted.seconds / 60:.1f} minutes",
            **card["settings"]["trainer"],
            **card["versions"],
        },
        notes=notes,
        title=f"Texture {recipe.name}",
    )
    return realism


def _parameters(recipe: Recipe, rng: np.random.Generator) -> dict[str, npt.NDArray[np.float64]]:
    """(n,) values of each parameter that the texture draws."""
    texture: Any = recipe.texture
    if isinstance(texture, LearnedTexture):
        latent = load_learned(texture.file).latent
        return latent.values(rng.standard_normal((_DRAWS, latent.latents)))
    assert isinstance(texture, GeneratorTexture)
    loaded = texture.load()
    placed = np.stack([place(loaded.spec.placement, loaded.spec.particles, rng) for _ in range(50)])
    return dict(zip(loaded.spec.outputs, loaded.values(placed).T, strict=True))
