"""Curves of a training for TensorBoard, where it is installed."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from nanostream.segment.metrics import Scores
    from nanostream.segment.progress import Progress

__all__ = ["Scalars"]

EVERY_STEPS = 50


class Scalars:
    """Writes loss, rate and waiting as `on_progress`, and scores; does nothing without TensorBoard."""

    def __init__(self, folder: Path) -> None:
        """The folder is made where there is something to write."""
        self._writer: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(folder)

    def __call__(self, progress: Progress) -> None:
        """Write a training's curves, every 50 steps."""
        if self._writer is None or progress.step % EVERY_STEPS:
            return
        for name in ("loss", "samples_per_second", "wait_share", "samples"):
            self._writer.add_scalar(f"training/{name}", getattr(progress, name), progress.step)

    def scores(self, scores: Scores, *, step: int) -> None:
        """Write the scores that the model of a step got."""
        if self._writer is None:
            return
        for name, value in scores.as_dict().items():
            if isinstance(value, float):
                self._writer.add_scalar(f"evaluation/{name}", value, step)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
