"""A recipe, streamed into a training; and fresh samples behind it, to try the network on."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from nanostream.segment.cores import share_cores
from nanostream.segment.evaluation import evaluate
from nanostream.segment.labels import components, remove_small
from nanostream.segment.pictures import SMALLEST_PX, AnnotatedPicture
from nanostream.segment.state import TrainingState, load_state, save_state
from nanostream.segment.training import Pause, Training, TrainingConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from nanostream.recipe import Recipe
    from nanostream.segment.metrics import Scores
    from nanostream.segment.model import Model
    from nanostream.segment.progress import Progress

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
    pauses: Sequence[Pause] = (),
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 60.0,
) -> Run:
    """Train on the stream of a recipe and score the model on the stream's next `fresh` samples.

    The stream's seed is the training's. workers: render workers; by default they and the threads of
    torch share the cores, see `cores.share_cores`. checkpoint: file that the training's state, with the stream's
    place, is written to every so often; if it is there already, the training goes on with it, and with `steps` set it
    ends with the weights of one that nothing interrupted, on the same backend.
    Raises what the stream and `Training.run` raise, ModelError for the checkpoint of another training, and StateError
    for one of another recipe.
    """
    from nanostream.dataset import StreamingDataset

    config = config or TrainingConfig()
    even_workers, even_threads = share_cores()
    workers = workers or even_workers
    threads = config.threads or even_threads
    config = dataclasses.replace(config, threads=threads)
    state = load_state(checkpoint) if checkpoint is not None and checkpoint.exists() else None
    with StreamingDataset(recipe, seed=config.seed, batch_size=STREAM_BATCH, engine=engine, workers=workers) as stream:
        if state is not None:
            state.check(config)
            stream.load_state_dict(state.place)
        batches = iter(stream)
        training = Training(batches, config, state=state)
        if checkpoint is not None:
            file = checkpoint

            def save(training: Training) -> None:
                place = stream.state_dict(after=training.window.behind)
                save_state(TrainingState.of(training, place=place), file)

            pauses = [*pauses, Pause(seconds=checkpoint_seconds, do=save)]
        progress = training.run(on_progress=on_progress, pauses=pauses)
        model = training.model()
        pictures = _annotated(batches, count=fresh)
    model.about["recipe"] = _about(recipe)
    scores = evaluate(model, pictures)
    model.about["fresh_scores"] = scores.as_dict()
    return Run(model=model, progress=progress, fresh=pictures, fresh_scores=scores, workers=workers, threads=threads)


def _about(recipe: Recipe) -> dict[str, Any]:
    """What a model says of the recipe that it was trained on."""
    shape = recipe.scene.shape.kind if recipe.scene.kind == "particles" else None
    return {"name": recipe.name, "hash": recipe.hash, "shape": shape, "pixel_nm": recipe.picture.pixel_nm}


def _annotated(batches: Iterator[dict[str, Any]], *, count: int) -> list[AnnotatedPicture]:
    """The stream's next samples as annotated pictures, small instances dropped as in evaluation.

    What is seen in two places, as a wire that crosses under another, is two instances, as `instances` finds them.
    """
    pictures: list[AnnotatedPicture] = []
    while len(pictures) < count:
        batch = next(batches)
        images = (batch["image"][:, 0].numpy() * 255.0).round().astype(np.uint8)
        for index, image, mask in zip(batch["index"].tolist(), images, batch["mask"].numpy(), strict=True):
            labels = remove_small(components(mask), smallest_px=SMALLEST_PX)
            pictures.append(AnnotatedPicture(name=str(index), image=image, labels=labels))
    return pictures[:count]
