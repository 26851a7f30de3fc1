"""A fit from the first step to the chosen checkpoint: it measures, keeps the best, undoes a collapse, and stops itself.

Whatever trains, `Trainer` is all that is asked of it. The run's file holds everything, so that a run that was killed
goes on to the same weights; only the minutes that it may take depend on the clock.
"""

from __future__ import annotations

import dataclasses
import math
import time
from typing import TYPE_CHECKING, Any, Protocol

import torch

from nanostream.errors import TextureError
from nanostream.files import whole_file
from nanostream.gan.check import Check
from nanostream.gan.trainer import Losses

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

__all__ = ["Fit", "FitConfig", "Progress", "Trainer"]

_VERSION = 1
_COLLAPSED = 3.0
"""A score this many times the best is no bad luck."""
_SMOOTHED = 0.98
"""Share of the losses shown that a step keeps."""


class Trainer(Protocol):
    """What learns."""

    steps: int

    def step(self) -> Losses:
        """Learn a little."""
        ...

    def texture(self) -> Any:
        """What is written and measured; raises TextureError if it is no numbers."""
        ...

    def slow_down(self, factor: float) -> None:
        """Multiply the rates."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything that steps change."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FitConfig:
    """When a fit looks, saves and stops."""

    minutes: float = 40.0
    """Time it may take, resumed parts added."""
    most_steps: int | None = None
    """Steps it may take."""
    check_steps: int = 100
    """Steps from one check to the next."""
    patience: int = 15
    """Checks without a better one after which it stops."""
    most_collapses: int = 4
    """Collapses undone before it gives up."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a fit is. losses: smoothed. check, best: the last and the best so far."""

    steps: int
    seconds: float
    losses: Losses
    check: Check | None
    best: Check | None
    collapses: int


class Fit:
    """One fit; `run` ends with the best weights in `trainer`."""

    def __init__(
        self,
        trainer: Trainer,
        checker: Callable[..., Check],
        config: FitConfig,
        *,
        file: pathlib.Path,
        identity: str,
    ) -> None:
        """file: where the run is kept. identity: of pictures and settings; a run of another one is refused."""
        self._trainer, self._checker, self._config = trainer, checker, config
        self._file, self._identity = file, identity
        self.checks: list[Check] = []
        self._best: tuple[Check, dict[str, Any]] | None = None
        self._seconds, self._collapses, self._stale = 0.0, 0, 0
        self._losses: Losses | None = None

    @property
    def best(self) -> Check:
        """The check of the chosen weights."""
        assert self._best is not None
        return self._best[0]

    @property
    def progress(self) -> Progress:
        """Where it is."""
        return Progress(
            steps=self._trainer.steps,
            seconds=self._seconds,
            losses=self._losses or Losses(0.0, 0.0, 0.0),
            check=self.checks[-1] if self.checks else None,
            best=self._best[0] if self._best else None,
            collapses=self._collapses,
        )

    def run(self, on_progress: Callable[[Progress], None] | None = None) -> str:
        """Go on until it ends, and load the best weights; returns why it ended, in a few words.

        Raises TextureError if it collapses again and again.
        """
        last = time.monotonic()
        while True:
            if self._trainer.steps % self._config.check_steps == 0:
                self._check()
                self._save()
            ended = self._over()
            if ended:
                break
            self._take(self._trainer.step())
            now = time.monotonic()
            self._seconds, last = self._seconds + now - last, now
            if on_progress is not None:
                on_progress(self.progress)
        self._check()
        assert self._best is not None
        self._trainer.load(self._best[1])
        self._save()
        return ended

    def resume(self) -> bool:
        """Go on from the run's file, if there is one; raises TextureError if it is of another run."""
        if not self._file.exists():
            return False
        try:
            kept = torch.load(self._file, map_location="cpu", weights_only=True)
            same = kept["version"] == _VERSION and kept["identity"] == self._identity
        except Exception as error:  # a damaged file meets torch's reader with nearly any exception
            msg = f"expected a run of `nanostream fit` in {self._file}, but it cannot be read ({error}): delete it"
            raise TextureError(msg) from error
        if not same:
            msg = f"expected the run in {self._file} to be of the same pictures, particles and settings, got another"
            raise TextureError(msg + ": choose another -o, or --overwrite")
        self._trainer.load(kept["trainer"])
        self.checks = [Check(**check) for check in kept["checks"]]
        self._best = None if kept["best"] is None else (Check(**kept["best"][0]), kept["best"][1])
        self._seconds, self._collapses = kept["seconds"], kept["collapses"]
        self._stale, losses = kept["stale"], kept["losses"]
        self._losses = None if losses is None else Losses(*losses)
        return True

    def _check(self) -> None:
        if self.checks and self.checks[-1].step == self._trainer.steps:
            # Resumed right behind the check.
            return
        check = self._checker(self._trainer.texture(), step=self._trainer.steps) if self._finite() else None
        if check is None or (self._best and not check.score < _COLLAPSED * self._best[0].score):
            self._undo(check)
            return
        self.checks.append(check)
        if self._best is None or check.score < self._best[0].score:
            self._best, self._stale = (check, self._trainer.state()), 0
        else:
            self._stale += 1

    def _undo(self, check: Check | None) -> None:
        """Back to the best weights, at half the rates; the steps' numbers go on, so that chance differs."""
        self._collapses += 1
        if self._best is None or self._collapses > self._config.most_collapses:
            score = "no number" if check is None else f"{check.score:.3g}"
            msg = f"expected the fit to settle, but it collapsed {self._collapses} times (score {score})"
            raise TextureError(msg + ": use more pictures, or another --seed")
        steps = self._trainer.steps
        self._trainer.load(self._best[1])
        self._trainer.steps, self._losses = steps, None
        self._trainer.slow_down(0.5**self._collapses)
        self.checks.append(dataclasses.replace(self._best[0], step=steps))

    def _take(self, losses: Losses) -> None:
        old, new = dataclasses.astuple(self._losses or losses), dataclasses.astuple(losses)
        self._losses = Losses(*(_SMOOTHED * a + (1 - _SMOOTHED) * b for a, b in zip(old, new, strict=True)))

    def _over(self) -> str:
        config = self._config
        if self._stale >= config.patience:
            return f"nothing improved in {self._stale} checks"
        if config.most_steps is not None and self._trainer.steps >= config.most_steps:
            return f"{config.most_steps} steps were taken"
        return f"{config.minutes:g} minutes were over" if self._seconds >= 60 * config.minutes else ""

    def _finite(self) -> bool:
        try:
            self._trainer.texture()
        except TextureError:
            return False
        return self._losses is None or all(map(math.isfinite, dataclasses.astuple(self._losses)))

    def _save(self) -> None:
        kept = {
            "version": _VERSION,
            "identity": self._identity,
            "trainer": self._trainer.state(),
            "checks": [dataclasses.asdict(check) for check in self.checks],
            "best": None if self._best is None else (dataclasses.asdict(self._best[0]), self._best[1]),
            "seconds": self._seconds,
            "collapses": self._collapses,
            "stale": self._stale,
            "losses": None if self._losses is None else dataclasses.astuple(self._losses),
        }
        with whole_file(self._file) as partial:
            torch.save(kept, partial)
