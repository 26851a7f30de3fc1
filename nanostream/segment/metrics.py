"""How near predicted instances are to annotated ones.

Legend: T = annotated (true) instances, P = predicted instances, IoU = intersection over union of
one of each, TP = matched pairs, FP = predicted ones without a partner, FN = annotated ones without.
A pair matches if IoU > threshold; at a threshold of at least 0.5 no instance can have two partners,
so nothing has to be chosen (Kirillov et al. 2019, section 3.1).

Pooling over several pictures: TP, FP, FN and the matched IoU are summed over all pictures before
F1, AP and PQ are computed, so every particle counts alike; Dice is the mean over pictures, so every
picture counts alike.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from nanostream.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

__all__ = ["Matching", "Scores", "dice", "match", "score"]

THRESHOLDS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Matching:
    """Matched and unmatched instances at one IoU threshold; matchings of several pictures add up."""

    tp: int
    fp: int
    fn: int
    iou_sum: float
    """Sum of IoU over the matched pairs."""

    def __add__(self, other: Matching) -> Matching:
        """Matching of both picture sets together."""
        return Matching(
            tp=self.tp + other.tp,
            fp=self.fp + other.fp,
            fn=self.fn + other.fn,
            iou_sum=self.iou_sum + other.iou_sum,
        )

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall; nan without instances.

        Van Rijsbergen 1979; as "F1 at IoU t" in Caicedo et al. 2019, Nature Methods 16, 1247.
        """
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def average_precision(self) -> float:
        """TP / (TP + FP + FN) at one threshold; nan without instances.

        The form of Caicedo et al. 2019 (Data Science Bowl 2018) and of `stardist.matching`; it is
        not COCO's area under a precision-recall curve, which needs a confidence for each instance.
        """
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def panoptic_quality(self) -> float:
        """Sum of matched IoU / (TP + FP/2 + FN/2); nan without instances.

        Kirillov et al. 2019, "Panoptic Segmentation", CVPR, equation 1.
        """
        return _ratio(self.iou_sum, self.tp + 0.5 * self.fp + 0.5 * self.fn)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """What a picture set scored; see the top of this file for how pictures are pooled."""

    pictures: int
    true_instances: int
    predicted_instances: int
    dice: float
    f1: float
    """At an IoU over 0.5, as all without a number are."""
    ap50: float
    ap_at: tuple[float, ...]
    """AP at an IoU over 0.50, 0.55, ... 0.95."""
    ap: float
    """Their mean, AP50-95: over thresholds as COCO takes it (Lin et al. 2014), at each of them `average_precision`."""
    pq: float
    median_diameter_error: float
    """Median equivalent diameter of all predicted instances over that of all annotated ones, - 1."""
    diameter_distance_px: float
    """Wasserstein-1 distance of the two diameter distributions, in pixels: the area between their distribution
    functions (Vaserstein 1969)."""
    matched_diameter_error: float
    """Median over matched pairs of predicted over annotated equivalent diameter, - 1: what outlines do to sizes,
    apart from what is missed, merged or split."""

    def as_dict(self) -> dict[str, Any]:
        """Scores as plain JSON values; what is undefined becomes None."""
        plain = {name: _plain(value) for name, value in dataclasses.asdict(self).items()}
        return plain | {"ap_at": [_plain(value) for value in self.ap_at]}


def dice(predicted: npt.NDArray[Any], true: npt.NDArray[Any]) -> float:
    """2 |P and T| / (|P| + |T|) over foreground pixels, whatever their instance; 1 if both are empty.

    predicted, true: (H, W) integer, 0 background. Raises PictureError if the shapes differ.
    Dice 1945, Ecology 26, 297.
    """
    _check(predicted, true)
    p, t = predicted > 0, true > 0
    pixels = int(p.sum()) + int(t.sum())
    return 2.0 * int((p & t).sum()) / pixels if pixels else 1.0


def match(predicted: npt.NDArray[Any], true: npt.NDArray[Any], *, threshold: float = 0.5) -> Matching:
    """Pair predicted with annotated instances of IoU > threshold, for a threshold from 0.5 to 1.

    predicted, true: (H, W) integer, 0 background; labels need not be without gaps.
    Raises PictureError if the shapes differ or if the threshold is out of range.
    """
    return _Overlap.of(predicted, true).match(threshold)


def score(pairs: Iterable[tuple[npt.NDArray[Any], npt.NDArray[Any]]]) -> Scores:
    """Scores of a picture set, from (predicted, true) label pictures (H, W) each.

    Raises PictureError if a pair's shapes differ or if there is no pair.
    """
    from scipy.stats import wasserstein_distance

    matchings = [Matching(tp=0, fp=0, fn=0, iou_sum=0.0)] * len(THRESHOLDS)
    dices: list[float] = []
    overlaps: list[_Overlap] = []
    for predicted, true in pairs:
        dices.append(dice(predicted, true))
        overlap = _Overlap.of(predicted, true)
        matchings = [one + overlap.match(at) for one, at in zip(matchings, THRESHOLDS, strict=True)]
        overlaps.append(overlap)
    if not dices:
        msg = "expected at least one picture to score, got none"
        raise PictureError(msg)
    p = np.concatenate([overlap.predicted_px for overlap in overlaps])
    t = np.concatenate([overlap.true_px for overlap in overlaps])
    ratio = np.concatenate([overlap.matched_diameter_ratio() for overlap in overlaps])
    sizes, first = bool(len(p) and len(t)), matchings[0]
    ap_at = tuple(matching.average_precision for matching in matchings)
    return Scores(
        pictures=len(dices),
        true_instances=first.tp + first.fn,
        predicted_instances=first.tp + first.fp,
        dice=float(np.mean(dices)),
        f1=first.f1,
        ap50=first.average_precision,
        ap_at=ap_at,
        ap=float(np.mean(ap_at)),
        pq=first.panoptic_quality,
        median_diameter_error=float(np.median(_diameter(p)) / np.median(_diameter(t)) - 1.0) if sizes else float("nan"),
        diameter_distance_px=float(wasserstein_distance(_diameter(p), _diameter(t))) if sizes else float("nan"),
        matched_diameter_error=float(np.median(ratio) - 1.0) if len(ratio) else float("nan"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Overlap:
    """iou: (P, T). predicted_px, true_px: area of each instance, (P,) and (T,)."""

    iou: npt.NDArray[np.float64]
    predicted_px: npt.NDArray[np.int64]
    true_px: npt.NDArray[np.int64]

    @classmethod
    def of(cls, predicted: npt.NDArray[Any], true: npt.NDArray[Any]) -> _Overlap:
        _check(predicted, true)
        p_labels, p = np.unique(predicted, return_inverse=True)
        t_labels, t = np.unique(true, return_inverse=True)
        # One pass over the pixels counts all intersections at once.
        both = np.bincount(p.ravel() * len(t_labels) + t.ravel(), minlength=len(p_labels) * len(t_labels)).reshape(
            len(p_labels), len(t_labels)
        )
        p_px, t_px = both.sum(axis=1), both.sum(axis=0)
        iou = both / (p_px[:, None] + t_px - both)
        real_p, real_t = p_labels > 0, t_labels > 0
        return cls(iou=iou[real_p][:, real_t], predicted_px=p_px[real_p], true_px=t_px[real_t])

    def match(self, threshold: float) -> Matching:
        if not THRESHOLDS[0] <= threshold <= 1.0:
            msg = f"expected an IoU threshold from 0.5 to 1, got {threshold}: below, pairs are ambiguous"
            raise PictureError(msg)
        pairs = self.iou > threshold
        tp = int(pairs.sum())
        return Matching(
            tp=tp, fp=self.iou.shape[0] - tp, fn=self.iou.shape[1] - tp, iou_sum=float(self.iou[pairs].sum())
        )

    def matched_diameter_ratio(self) -> npt.NDArray[np.float64]:
        """Predicted over annotated equivalent diameter, of each pair matched at an IoU over 0.5."""
        p, t = np.nonzero(self.iou > THRESHOLDS[0])
        return np.sqrt(self.predicted_px[p] / self.true_px[t])


def _diameter(area_px: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Equivalent diameter in pixels."""
    return np.sqrt(4.0 / np.pi * area_px)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and np.isnan(value) else value


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _check(predicted: npt.NDArray[Any], true: npt.NDArray[Any]) -> None:
    if predicted.shape != true.shape:
        msg = (
            f"expected a prediction of the annotation's shape {true.shape}, got {predicted.shape}: "
            "crop both to the same rows"
        )
        raise PictureError(msg)
