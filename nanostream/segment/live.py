"""One line that lives while a training runs: samples, samples a second, loss, time waited."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from types import TracebackType

    from nanostream.segment.progress import Progress

__all__ = ["LiveLine", "describe"]

PLAIN_EVERY_SECONDS = 30.0
LIVE_EVERY_SECONDS = 0.2


class LiveLine:
    """Context manager to hand to a training as `on_progress`; writes to the console of stderr.

    Where stderr is no terminal, a plain line is written every half minute instead.
    """

    def __init__(self, title: str, *, console: Console | None = None) -> None:
        """Nothing is written before the context is entered."""
        self._title = title
        self._console = console or Console(stderr=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[line]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=1.0, line="waiting for the first samples")
        self._next = 0.0

    def __enter__(self) -> Self:
        """Start to draw."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop to draw; the last state stays on the screen."""
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Show where the training stands; most calls do nothing."""
        now = time.monotonic()
        if now < self._next and progress.done < 1.0:
            return
        if self._console.is_terminal:
            self._next = now + LIVE_EVERY_SECONDS
            self._bar.update(self._task, completed=progress.done, line=describe(progress))
        else:
            self._next = now + PLAIN_EVERY_SECONDS
            self._console.print(f"{self._title} {progress.done:4.0%}  {describe(progress)}", soft_wrap=True)

    def say(self, text: str) -> None:
        """Write a line that stays."""
        self._console.print(text, soft_wrap=True)


def describe(progress: Progress) -> str:
    """Samples rendered, samples a second, steps, loss and share of time waited, in one line."""
    return (
        f"{progress.samples} samples, {progress.samples_per_second:.1f}/s, "
        f"step {progress.step}, loss {progress.loss:.3f}, waited {progress.wait_share:.0%}"
    )
