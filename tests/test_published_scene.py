"""Published placement: sizes, agglomerates, contact."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pydantic
import pytest

from nanostream.errors import RecipeError
from nanostream.scene.published import PublishedPlacement, place, read_mesh_sets
from nanostream.scene.published_radii import BimodalRadii, LognormalRadii, NormalRadii

if TYPE_CHECKING:
    import pathlib

RADII = (
    LognormalRadii(mu=0, sigma=0.2),
    NormalRadii(mean=1, stddev=0.1),
    BimodalRadii(mean1=0.8, stddev1=0.05, mean2=0.3, stddev2=0.05, p=0.3),
)

placements = st.builds(
    PublishedPlacement,
    radii=st.sampled_from(RADII),
    mesh_unit=st.sampled_from((0.25, 0.9)),
    mesh_scale=st.just(1.0),
    base_limit=st.sampled_from((2.5, 5.0)),
    in_depth=st.booleans(),
    agglomerates=st.sampled_from((1, 2, 4)),
    method=st.sampled_from(("poisson", "random")),
)


@hypothesis.settings(max_examples=25)
@hypothesis.given(placement=placements, seed=st.integers(0, 2**32))
def test_placement(placement: PublishedPlacement, seed: int) -> None:
    """Placements repeat with their generator; touching ones never overlap and leave no particle alone."""
    first = place(placement, 12, np.random.default_rng(seed))
    np.testing.assert_array_equal(first, place(placement, 12, np.random.default_rng(seed)))
    assert first.shape == (12, 4)
    assert np.isfinite(first).all()
    if not placement.in_depth:
        assert (first[:, 2] == 0).all()
    if placement.method == "random":
        assert (np.abs(first[:, :3]) <= placement.base_limit / placement.mesh_unit).all()
        return
    gaps = np.linalg.norm(first[:, None, :3] - first[None, :, :3], axis=2) - first[:, None, 3] - first[None, :, 3]
    np.fill_diagonal(gaps, np.inf)
    assert gaps.min() > -1e-9
    touching = gaps < 1e-9
    alone = int((~touching.any(axis=1)).sum())
    assert alone <= placement.agglomerates


def test_shares_of_a_bimodal_distribution() -> None:
    """`p` is the share of the second mode, as published."""
    radii = RADII[2].draw(20_000, np.random.default_rng(0))
    assert np.mean(radii < 0.55) == pytest.approx(0.3, abs=0.02)


def test_no_room() -> None:
    """A scene without room for its agglomerates and one that cannot be split are errors, not endless searches."""
    placement = PublishedPlacement(
        radii=NormalRadii(mean=1, stddev=0),
        mesh_unit=1,
        mesh_scale=1,
        base_limit=0.5,
        in_depth=False,
        agglomerates=2,
        method="poisson",
    )
    with pytest.raises(RecipeError, match="raise base_limit"):
        place(placement, 8, np.random.default_rng(0))
    with pytest.raises(RecipeError, match="multiple of 2"):
        place(placement, 7, np.random.default_rng(0))


def test_wrong_numbers() -> None:
    """Sizes that cannot be are refused when the recipe is read."""
    for values in ({"mean": 0, "stddev": 1}, {"mean": 1, "stddev": -1}, {"mean": float("inf"), "stddev": 1}):
        with pytest.raises(pydantic.ValidationError):
            NormalRadii.model_validate(values)


def test_mesh_sets(tmp_path: pathlib.Path) -> None:
    """Mesh sets keep their order and repeats; anything else is refused."""
    path = tmp_path / "meshes.json"
    path.write_text(json.dumps({"a": ["y.ply", "x.ply", "y.ply"]}))
    assert read_mesh_sets(path) == {"a": ("y.ply", "x.ply", "y.ply")}
    for text in ("[]", '{"a": []}', '{"a": [1]}', "?"):
        path.write_text(text)
        with pytest.raises(RecipeError):
            read_mesh_sets(path)
