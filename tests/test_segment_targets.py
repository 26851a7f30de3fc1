"""Targets against definitions written out pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import distance_transform_edt

from nanostream.errors import PictureError
from nanostream.segment.targets import (
    CentreOffsets,
    ContourClasses,
    DistanceMap,
    centre_offsets,
    contour_classes,
    distance_map,
    relative_distance,
    seams,
)

MASKS = arrays(np.int32, (2, 9, 11), elements=st.sampled_from([0, 0, 1, 1, 2, 65535]))


def _neighbours(mask: np.ndarray, r: int, c: int, width: int) -> np.ndarray:
    return mask[max(r - width, 0) : r + width + 1, max(c - width, 0) : c + width + 1]


@given(mask=MASKS, width=st.integers(1, 2))
def test_contours_and_seams_are_what_they_are_called(mask: np.ndarray, width: int) -> None:
    """A contour pixel has another label within the width, a seam pixel another particle."""
    classes = contour_classes(torch.from_numpy(mask), width_px=width).numpy()
    seam = seams(torch.from_numpy(mask), width_px=width).numpy()
    for b, r, c in np.ndindex(mask.shape):
        near, here = _neighbours(mask[b], r, c, width), mask[b, r, c]
        expected = 0 if not here else 1 + bool((near != here).any())
        assert classes[b, r, c] == expected
        assert seam[b, r, c] == bool(here and ((near != here) & (near > 0)).any())


@given(mask=MASKS)
def test_distances_are_those_of_scipy(mask: np.ndarray) -> None:
    """Within each particle the distance is scipy's exact transform of that particle alone."""
    got = distance_map(torch.from_numpy(mask)).numpy()
    for picture, distance in zip(mask, got, strict=True):
        for label in np.unique(picture[picture > 0]):
            inside = picture == label
            if inside.all():
                continue
            expected = distance_transform_edt(inside)
            np.testing.assert_allclose(distance[inside], expected[inside], rtol=1e-6)
    assert not got[mask == 0].any()


@given(mask=MASKS)
def test_relative_distances_reach_one_in_each_particle(mask: np.ndarray) -> None:
    """Each particle's distances are those of the map over its own greatest one."""
    distance, relative = distance_map(torch.from_numpy(mask)).numpy(), relative_distance(torch.from_numpy(mask)).numpy()
    for b, picture in enumerate(mask):
        for label in np.unique(picture[picture > 0]):
            own = distance[b][picture == label]
            np.testing.assert_allclose(relative[b][picture == label], own / own.max(), rtol=1e-6)
    assert not relative[mask == 0].any()


@given(mask=MASKS)
def test_offsets_lead_to_the_centroid(mask: np.ndarray) -> None:
    """From every pixel of a particle, the offset leads to the mean of its pixels."""
    got = centre_offsets(torch.from_numpy(mask)).numpy()
    for b, picture in enumerate(mask):
        for label in np.unique(picture[picture > 0]):
            places = np.argwhere(picture == label)
            ends = places + got[b][:, picture == label].T
            np.testing.assert_allclose(ends, np.broadcast_to(places.mean(0), ends.shape), atol=1e-4)
    assert not got[:, 0][mask == 0].any()


def test_transforms_add_to_a_batch() -> None:
    """Each transform returns the batch with one more entry, and leaves the others as they are."""
    batch = {"mask": torch.ones(2, 8, 8, dtype=torch.int32), "index": torch.arange(2)}
    for transform, key, shape in (
        (ContourClasses(width_px=2), "classes", (2, 8, 8)),
        (DistanceMap(), "distance", (2, 8, 8)),
        (CentreOffsets(), "offset", (2, 2, 8, 8)),
    ):
        got = transform(batch)
        assert set(got) == {"mask", "index", key}
        assert got[key].shape == shape
        assert set(batch) == {"mask", "index"}


def test_a_mask_of_another_kind_is_refused() -> None:
    """Floating masks and single pictures raise an error that names what came."""
    with pytest.raises(PictureError, match="float32"):
        contour_classes(torch.zeros(1, 4, 4))
    with pytest.raises(PictureError, match=r"\(4, 4\)"):
        distance_map(torch.zeros(4, 4, dtype=torch.int32))
