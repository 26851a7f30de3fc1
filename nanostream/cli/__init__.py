"""The `nanostream` command: one file a command, each a frozen dataclass with `run`."""

from __future__ import annotations

from nanostream.cli.app import main

__all__ = ["main"]
