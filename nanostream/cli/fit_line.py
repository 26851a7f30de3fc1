"""One line that lives while a texture is learned: steps, losses, realism."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from types import TracebackType

    from nanostream.gan.fit import Progress

__all__ = ["FitLine", "describe"]

_PLAIN_EVERY_SECONDS = 30.0
_LIVE_EVERY_SECONDS = 0.2


class FitLine:
    """Context manager to hand to a fit as `on_progress`; writes to stderr, plain lines where that is no terminal."""

    def __init__(self, *, minutes: float, console: Console | None = None) -> None:
        self._seconds = 60 * minutes
        self._console = console or Console(stderr=True)
        self._bar = Bar(
            TextColumn("fitting"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[line]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("fitting", total=self._seconds, line="reading the pictures")
        self._next = 0.0

    def __enter__(self) -> Self:
        """Start to draw."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop to draw; the last state stays on the screen."""
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Show where the fit stands; most calls do nothing."""
        now = time.monotonic()
        if now < self._next:
            return
        if self._console.is_terminal:
            self._next = now + _LIVE_EVERY_SECONDS
            self._bar.update(self._task, completed=progress.seconds, line=describe(progress))
        else:
            self._next = now + _PLAIN_EVERY_SECONDS
            self._console.print(f"{progress.seconds / 60:5.1f} min  {describe(progress)}", soft_wrap=True)


def describe(progress: Progress) -> str:
    """Steps, losses and realism in one line; a score is how many floors the measures are."""
    losses = progress.losses
    line = (
        f"step {progress.steps}, statistics {losses.statistics:.3f}, generator {losses.generator:.3f}, "
        f"discriminator {losses.discriminator:.3f}"
    )
    if progress.check is not None and progress.best is not None:
        line += f", realism {progress.check.score:.2f} (best {progress.best.score:.2f} at {progress.best.step})"
    return line + (f", {progress.collapses} collapses undone" if progress.collapses else "")
