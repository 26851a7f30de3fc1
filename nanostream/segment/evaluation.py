"""A model's scores on annotated pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanostream.segment.labels import remove_small
from nanostream.segment.metrics import Scores, score
from nanostream.segment.pictures import SMALLEST_PX, AnnotatedPicture
from nanostream.segment.predict import predict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nanostream.segment.model import Model

__all__ = ["evaluate"]


def evaluate(
    model: Model,
    pictures: Iterable[AnnotatedPicture],
    *,
    flips: bool = False,
    smallest_px: int = SMALLEST_PX,
) -> Scores:
    """Scores of a model on annotated pictures, as `pictures.read_validation` gives them.

    Predicted instances under `smallest_px` pixels are dropped, as they are from the annotation.
    flips: see `predict.probabilities`. Raises PictureError if there is no picture.
    """
    return score(
        (
            remove_small(predict(model, picture.image, flips=flips), smallest_px=smallest_px),
            picture.labels,
        )
        for picture in pictures
    )
