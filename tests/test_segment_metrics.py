"""Scores against an independent implementation that counts pixel by pixel."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics.meandice import compute_dice
from monai.metrics.panoptic_quality import compute_panoptic_quality
from scipy.optimize import linear_sum_assignment
from skimage.measure import regionprops

from nanostream.errors import PictureError
from nanostream.segment.measure import equivalent_diameter
from nanostream.segment.metrics import dice, match, score

LABELS = arrays(np.int32, (7, 9), elements=st.integers(0, 4))


def _sets(labels: np.ndarray) -> list[set[tuple[int, int]]]:
    """Pixels of each instance, as sets."""
    places = itertools.product(range(labels.shape[0]), range(labels.shape[1]))
    held: dict[int, set[tuple[int, int]]] = {}
    for place in places:
        if labels[place]:
            held.setdefault(int(labels[place]), set()).add(place)
    return list(held.values())


def _brute(predicted: np.ndarray, true: np.ndarray, threshold: float) -> tuple[int, int, int, float]:
    """TP, FP, FN and matched IoU by the best assignment over all pairs."""
    p, t = _sets(predicted), _sets(true)
    iou = np.array([[len(a & b) / len(a | b) for b in t] for a in p]).reshape(len(p), len(t))
    iou = np.where(iou > threshold, iou, 0.0)
    rows, columns = linear_sum_assignment(-iou)
    matched = [iou[r, c] for r, c in zip(rows, columns, strict=True) if iou[r, c] > 0]
    return len(matched), len(p) - len(matched), len(t) - len(matched), float(sum(matched))


@given(predicted=LABELS, true=LABELS, threshold=st.sampled_from([0.5, 0.7, 0.9]), kept=st.floats(0, 1))
def test_matching_is_that_of_the_best_assignment(
    predicted: np.ndarray, true: np.ndarray, threshold: float, kept: float
) -> None:
    """TP, FP, FN and the matched IoU are those of an optimal assignment over sets of pixels."""
    # Half of the true mask is carried over, so that matches do occur.
    rows = round(kept * predicted.shape[0])
    predicted = np.concatenate([true[:rows], predicted[rows:]])
    got = match(predicted, true, threshold=threshold)
    tp, fp, fn, iou = _brute(predicted, true, threshold)
    assert (got.tp, got.fp, got.fn) == (tp, fp, fn)
    assert got.iou_sum == pytest.approx(iou)
    if tp + fp + fn:
        assert got.average_precision == pytest.approx(tp / (tp + fp + fn))
        assert got.panoptic_quality == pytest.approx(iou / (tp + fp / 2 + fn / 2))
        precision, recall = tp / max(tp + fp, 1), tp / max(tp + fn, 1)
        assert got.f1 == pytest.approx(2 * precision * recall / (precision + recall) if tp else 0.0)


@given(predicted=LABELS, true=LABELS)
def test_dice_counts_foreground_pixels(predicted: np.ndarray, true: np.ndarray) -> None:
    """Dice is twice the common foreground over both foregrounds, and 1 for two empty pictures."""
    p, t = set().union(*_sets(predicted)), set().union(*_sets(true))
    expected = 2 * len(p & t) / (len(p) + len(t)) if p or t else 1.0
    assert dice(predicted, true) == pytest.approx(expected)


@given(predicted=LABELS, true=LABELS, kept=st.floats(0, 1))
def test_scores_are_those_of_monai(predicted: np.ndarray, true: np.ndarray, kept: float) -> None:
    """F1, PQ, AP at every threshold and Dice are what MONAI's own metrics say of the same pictures."""
    rows = round(kept * predicted.shape[0])
    predicted = np.concatenate([true[:rows], predicted[rows:]])
    if not true.any() or not predicted.any():
        return
    got = score([(predicted, true)])
    p, t = torch.from_numpy(predicted), torch.from_numpy(true)
    assert got.pq == pytest.approx(float(compute_panoptic_quality(p, t)), abs=1e-4)
    assert got.f1 == pytest.approx(float(compute_panoptic_quality(p, t, metric_name="rq")), abs=1e-4)
    for threshold, ap in zip(np.arange(0.5, 1, 0.05), got.ap_at, strict=True):
        # Float32 in MONAI: a threshold itself is no place to compare at.
        tp, fp, fn, _ = compute_panoptic_quality(
            p, t, match_iou_threshold=float(threshold) + 1e-6, output_confusion_matrix=True
        ).tolist()
        assert ap == pytest.approx(tp / (tp + fp + fn))
    assert got.ap == pytest.approx(np.mean(got.ap_at))
    foreground = (torch.from_numpy(labels > 0)[None, None].float() for labels in (predicted, true))
    assert got.dice == pytest.approx(float(compute_dice(*foreground)), abs=1e-5)


def test_size_errors_are_what_they_are_called() -> None:
    """Twice as wide and high: diameters are off by all of themselves, their distributions by the mean of it."""
    true = np.zeros((40, 60), int)
    true[2:6, 2:6], true[20:28, 20:28] = 1, 2
    predicted = np.zeros((40, 60), int)
    predicted[1:9, 1:9], predicted[18:34, 18:34] = 1, 2
    got = score([(predicted, true)])
    assert got.median_diameter_error == pytest.approx(1.0)
    assert got.diameter_distance_px == pytest.approx(np.sqrt(4 / np.pi) * 6)
    assert math.isnan(got.matched_diameter_error)
    predicted = true.copy()
    predicted[2:6, 6] = 1
    assert score([(predicted, true)]).matched_diameter_error == pytest.approx((np.sqrt(20 / 16) - 1) / 2)


@given(true=LABELS, shift=st.integers(1, 50))
def test_labels_are_names(true: np.ndarray, shift: int) -> None:
    """Other numbers for the same instances score alike: everything is found."""
    renamed = np.where(true > 0, shift + 7 * true, 0)
    got = match(renamed, true)
    assert (got.fp, got.fn) == (0, 0)
    assert got.tp == len(_sets(true))


def test_an_iou_of_one_half_is_no_match() -> None:
    """The threshold itself does not match, so that no instance can have two partners."""
    true = np.array([[1, 1, 0, 0]])
    assert match(np.array([[1, 0, 0, 0]]), true).tp == 0
    assert match(np.array([[1, 1, 1, 0]]), true).tp == 1


def test_pictures_are_pooled_as_stated() -> None:
    """F1, AP and PQ come from summed counts; Dice is the mean over pictures."""
    many, none = np.arange(1, 10).reshape(3, 3), np.zeros((3, 3), int)
    got = score([(many, many), (none, np.eye(3, dtype=int))])
    assert (got.true_instances, got.predicted_instances) == (10, 9)
    assert got.f1 == pytest.approx(18 / 19)
    assert got.ap50 == pytest.approx(9 / 10)
    assert got.pq == pytest.approx(9 / 9.5)
    assert got.dice == pytest.approx(0.5)


def test_no_instances_is_no_number() -> None:
    """Where nothing is there and nothing is found, F1 is undefined and Dice is 1."""
    empty = np.zeros((4, 4), int)
    got = score([(empty, empty)])
    assert got.dice == 1.0
    assert math.isnan(got.f1)
    assert got.as_dict()["f1"] is None


def test_wrong_shapes_and_thresholds_are_named() -> None:
    """Pictures of two sizes, thresholds under one half and an empty set are refused."""
    a = np.zeros((4, 4), int)
    with pytest.raises(PictureError, match=r"\(4, 4\)"):
        dice(a, a[:3])
    with pytest.raises(PictureError, match=r"0\.3"):
        match(a, a, threshold=0.3)
    with pytest.raises(PictureError, match="at least one"):
        score([])


def test_diameter_is_that_of_scikit_image() -> None:
    """The equivalent diameter agrees with scikit-image's and scales with the pixel."""
    mask = np.random.default_rng(3).integers(0, 6, (30, 40))
    expected = [region.equivalent_diameter_area for region in regionprops(mask)]
    assert equivalent_diameter(mask, 1.0) == pytest.approx(expected)
    assert equivalent_diameter(mask, 7.344) == pytest.approx(7.344 * np.array(expected))
    with pytest.raises(PictureError, match="float64"):
        equivalent_diameter(mask / 1.0, 1.0)
