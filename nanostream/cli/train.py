"""`nanostream train`: a network that has seen rendered samples alone, tried on real pictures."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING

from nanostream.cli.options import Out, Preset, Seed, Settings, load_recipe
from nanostream.errors import StoreError

if TYPE_CHECKING:
    from nanostream.segment.live import LiveLine
    from nanostream.segment.metrics import Scores
    from nanostream.segment.pictures import AnnotatedPicture
    from nanostream.segment.progress import Progress
    from nanostream.segment.scalars import Scalars
    from nanostream.segment.training import Pause, Training

__all__ = ["Train"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
    """Train a segmentation network on the stream of a recipe; a training that was killed goes on.

    Its state is kept beside the model and deleted at the end. Where TensorBoard is installed, curves are written
    beside the model as well.
    """

    preset: Preset
    """Name of a preset, or path of a recipe file (JSON)."""

    out: Out = pathlib.Path("model.safetensors")
    """Model file to write."""

    minutes: float = 15.0
    """Time to train, in minutes."""

    steps: int | None = None
    """Steps to train, instead of minutes; the weights then do not depend on time."""

    evaluate: pathlib.Path | None = None
    """Folder with images/ and masks/ of equal names, to score the model on: only shown, never learned from."""

    evaluate_minutes: float = 5.0
    """Time between two evaluations, in minutes; an evaluation is no training time."""

    rows: int | None = None
    """Rows to keep of each picture evaluated; by default those above a footer, if there is one."""

    flips: bool = False
    """Average predictions over mirrored pictures in the last evaluation, at four times the cost."""

    workers: int = 0
    """Render workers; 0 takes half the cores and leaves the others to the training."""

    threads: int = 0
    """Threads of the training; 0 takes the cores that the render workers leave."""

    width: int = 16
    """Channels of the network's finest level; each of the three below has twice as many as the one above."""

    seed: Seed = 0
    """Seed of the stream, the weights and the crops."""

    settings: Settings = ()
    """A field of the recipe to change, e.g. scene.sizes.median_nm=120; may come repeatedly."""

    checkpoint_minutes: float = 1.0
    """Time between two copies of the training's state, in minutes."""

    overwrite: bool = False
    """Start again where a model, or the state of a training, exists."""

    def run(self) -> None:
        """Train, evaluate, write the model and print the scores."""
        from nanostream.segment.evaluation import evaluate
        from nanostream.segment.live import LiveLine
        from nanostream.segment.model import save_model
        from nanostream.segment.network import NetworkConfig
        from nanostream.segment.pictures import read_validation
        from nanostream.segment.run import train_on_recipe
        from nanostream.segment.scalars import Scalars
        from nanostream.segment.training import TrainingConfig

        # What can be wrong is found before the training, not after it.
        recipe = load_recipe(self.preset, self.settings)
        out = self.out if self.out.suffix else self.out.with_suffix(".safetensors")
        state = out.with_suffix(".training")
        if out.exists() and not self.overwrite:
            msg = f"expected no file at {str(out)!r}, found one: choose another -o or --overwrite"
            raise StoreError(msg)
        pictures = [] if self.evaluate is None else list(read_validation(self.evaluate, rows=self.rows))
        config = TrainingConfig(
            minutes=self.minutes,
            steps=self.steps,
            seed=self.seed,
            threads=self.threads or None,
            network=NetworkConfig(channels=(self.width, 2 * self.width, 4 * self.width, 8 * self.width)),
        )
        if self.overwrite:
            state.unlink(missing_ok=True)
        scalars = Scalars(out.with_suffix(".tensorboard"))
        with LiveLine("training") as live:
            if state.exists():
                live.say(f"Going on with the training in {state}.")

            def show(progress: Progress) -> None:
                live(progress)
                scalars(progress)

            run = train_on_recipe(
                recipe,
                config,
                workers=self.workers or None,
                on_progress=show,
                pauses=self._pauses(pictures, live, scalars),
                checkpoint=state,
                checkpoint_seconds=60.0 * self.checkpoint_minutes,
            )
        rows = [(f"{run.fresh_scores.pictures} fresh samples", run.fresh_scores)]
        save_model(run.model, out)
        state.unlink(missing_ok=True)
        if pictures:
            scores = evaluate(run.model, pictures, flips=self.flips)
            run.model.about["scores"] = scores.as_dict() | {"flips": self.flips}
            save_model(run.model, out)
            scalars.scores(scores, step=run.progress.step)
            rows.append((str(self.evaluate), scores))
        scalars.close()
        _print_scores(rows)
        progress = run.progress
        print(
            f"Trained {progress.step} steps on {progress.samples} rendered samples in "
            f"{progress.seconds / 60:.1f} minutes (waited {progress.wait_share:.0%}); "
            f"the model is {out}."
        )

    def _pauses(self, pictures: list[AnnotatedPicture], live: LiveLine, scalars: Scalars) -> list[Pause]:
        """Evaluations while the training runs; none without annotated pictures."""
        from nanostream.segment.evaluation import evaluate
        from nanostream.segment.training import Pause

        def look(training: Training) -> None:
            scores = evaluate(training.model(), pictures)
            scalars.scores(scores, step=training.progress.step)
            live.say(
                f"After {training.progress.seconds / 60:.1f} minutes: Dice {scores.dice:.3f}, F1 {scores.f1:.3f}, "
                f"AP50 {scores.ap50:.3f}, PQ {scores.pq:.3f}, median diameter {scores.median_diameter_error:+.1%}"
            )

        return [Pause(seconds=60.0 * self.evaluate_minutes, do=look)] if pictures else []


def _print_scores(rows: list[tuple[str, Scores]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("pictures", "Dice", "F1 at IoU 0.5", "AP50", "AP50-95", "PQ", "median diameter", "particles")
    for name, scores in rows:
        table.add_row(
            name,
            f"{scores.dice:.3f}",
            f"{scores.f1:.3f}",
            f"{scores.ap50:.3f}",
            f"{scores.ap:.3f}",
            f"{scores.pq:.3f}",
            f"{scores.median_diameter_error:+.1%}",
            f"{scores.predicted_instances} of {scores.true_instances}",
        )
    Console().print(table)
