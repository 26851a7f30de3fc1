"""A recipe, streamed into a training; and fresh samples behind it, to try the network on."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from nanostream.segment.cores import share_cores
from nanostream.segment.evaluation import evaluate
from nanostream.segment.labels import remove_small
from nanostream.segment.pictures import SMALLEST_PX, AnnotatedPicture
from nanostream.segment.training import Progress, TrainingConfig, train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from nanostream.recipe import Recipe
    from nanostream.segment.metrics import Scores
    from nanostream.segment.model import Model

__all__ = ["Run", "train_on_recipe"]

STREAM_BATCH = 4
"""Samples that the stream hands over together; small, so that the first step starts early."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Run:
    """What a training on a recipe left."""

    model: Model
    progress: Progress
    fresh: list[AnnotatedPicture]
    """Samples behind the last one that was trained on."""
    fresh_scores: Scores
    workers: int
    threads: int


def train_on_recipe(
    recipe: Recipe,
    config: TrainingConfig | None = None,
    *,
    workers: int | None = None,
    engine: str = "ray",
    fresh: int = 24,
    on_progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Train on the stream of a recipe and score the model on the stream's next `fresh` samples.

    The stream's seed is the training's. workers: render workers; by default they and the threads of
    torch share the cores, see `cores.share_cores`.
    Raises what the stream and `training.train` raise.
    """
    from nanostream.dataset import StreamingDataset

    config = config or TrainingConfig()
    even_workers, even_threads = share_cores()
    workers = workers or even_workers
    config = dataclasses.replace(config, threads=config.threads or even_threads)
    with StreamingDataset(recipe, seed=config.seed, batch_size=STREAM_BATCH, engine=engine, workers=workers) as stream:
        batches = iter(stream)
        model, progress = train(batches, config, on_progress=on_progress)
        pictures = _annotated(batches, count=fresh)
    model.about["recipe"] = {"name": recipe.name, "hash": recipe.hash}
    scores = evaluate(model, pictures)
    model.about["fresh_scores"] = scores.as_dict()
    return Run(
        model=model,
        progress=progress,
        fresh=pictures,
        fresh_scores=scores,
        workers=workers,
        threads=config.threads or even_threads,
    )


def _annotated(batches: Iterator[dict[str, Any]], *, count: int) -> list[AnnotatedPicture]:
    """The stream's next samples as annotated pictures, small instances dropped as in evaluation."""
    pictures: list[AnnotatedPicture] = []
    while len(pictures) < count:
        batch = next(batches)
        images = (batch["image"][:, 0].numpy() * 255.0).round().astype(np.uint8)
        for index, image, mask in zip(batch["index"].tolist(), images, batch["mask"].numpy(), strict=True):
            labels = remove_small(mask, smallest_px=SMALLEST_PX)
            pictures.append(AnnotatedPicture(name=str(index), image=image, labels=labels))
    return pictures[:count]
