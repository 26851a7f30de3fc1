"""SIGTERM as the end of a block, the way Ctrl-C is: what is open is closed, and nothing half-written stays."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ended_by_signals"]


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt in the block; nothing changes outside the main thread.

    Entered once an engine is open: Ray sets a handler of its own when it starts, which ends the process
    with a crash report.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        # None stands for a handler that is not Python's and cannot be put back.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
