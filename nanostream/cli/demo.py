"""`nanostream demo`: from nothing to a network that segments, in a few minutes."""

from __future__ import annotations

import dataclasses
import pathlib
import time

from nanostream.cli.options import Out, Seed

__all__ = ["Demo"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demo:
    """Stream rendered samples into a small U-Net for two minutes and show what it learned."""

    out: Out = pathlib.Path("demo")
    """Folder for samples.png, predictions.png and results.json; these are replaced."""

    minutes: float = 2.0
    """Time to train, in minutes."""

    workers: int = 0
    """Render workers; 0 takes half the cores and leaves the others to the training."""

    seed: Seed = 0
    """Seed of the stream, the weights and the crops."""

    def run(self) -> None:
        """Train and write the folder."""
        begun = time.monotonic()
        from nanostream.cli.options import load_recipe
        from nanostream.segment.demo import write_demo
        from nanostream.segment.live import LiveLine
        from nanostream.segment.run import train_on_recipe
        from nanostream.segment.training import TrainingConfig

        recipe = load_recipe("tio2-sem")
        config = TrainingConfig(minutes=self.minutes, seed=self.seed)
        with LiveLine("training") as live:
            run = train_on_recipe(recipe, config, workers=self.workers or None, on_progress=live)
        folder = write_demo(run, self.out)
        scores, progress = run.fresh_scores, run.progress
        print(
            f"On {scores.pictures} fresh samples: Dice {scores.dice:.3f}, "
            f"F1 at IoU 0.5 {scores.f1:.3f}, AP50 {scores.ap50:.3f}, PQ {scores.pq:.3f}."
        )
        print(
            f"Trained on {progress.samples} rendered samples in {progress.seconds:.0f} s "
            f"({time.monotonic() - begun:.0f} s in all); samples.png, predictions.png and "
            f"results.json are in {folder}."
        )
