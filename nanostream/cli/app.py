"""Finds the command's class, parses its options and turns errors into sentences and exit codes."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import tyro

from nanostream.errors import BackendError, NanostreamError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COMMANDS", "Command", "command", "main", "parse"]

COMMANDS = {
    "demo": "nanostream.cli.demo:Demo",
    "doctor": "nanostream.cli.doctor:Doctor",
    "preview": "nanostream.cli.preview:Preview",
    "import-published": "nanostream.cli.import_published:ImportPublished",
    "fit": "nanostream.cli.fit:Fit",
    "export": "nanostream.cli.export:Export",
    "verify": "nanostream.cli.verify:Verify",
    "train": "nanostream.cli.train:Train",
    "segment": "nanostream.cli.segment:Segment",
    "serve": "nanostream.cli.serve:Serve",
    "replay": "nanostream.cli.replay:Replay",
    "bench": "nanostream.cli.bench:Bench",
}
"""Where each command's dataclass stands; only the one that runs is imported."""

# A switch is off unless it is given, so it needs no --no-switch beside it.
_CONFIG = (tyro.conf.FlagCreatePairsOff,)

_FAILED, _INTERRUPTED = 1, 130


class Command(Protocol):
    """What a command's options are parsed into: a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def run(self) -> None:
        """Do it; raise NanostreamError where it cannot be done."""
        ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0, 1 for an error, 130 for Ctrl-C.

    argv: the words after `nanostream`, those of this process by default. Wrong use and
    `--help` end in SystemExit, with 2 and 0.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        print(_version())
        return 0
    try:
        parse(words).run()
    except NanostreamError as error:
        print(f"nanostream: {error}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


def parse(words: list[str]) -> Command:
    """The command of the words after `nanostream`; SystemExit with 2 for wrong use, with 0 for help."""
    if words and words[0] in COMMANDS:
        name, *rest = words
        return tyro.cli(command(name), prog=f"nanostream {name}", args=rest, config=_CONFIG)
    return tyro.extras.subcommand_cli_from_dict(
        {name: command(name) for name in COMMANDS},
        prog="nanostream",
        description="Rendered particle pictures and their masks, streamed into training.",
        args=words or ["--help"],
        config=_CONFIG,
    )


def _version() -> str:
    """Name and version, and what decides the pixels here: their version, the backend, and the renderer's versions."""
    from nanostream.recipe import PIXELS_VERSION
    from nanostream.render import backend

    try:
        parts = [backend.choose(), *(f"{name} {version}" for name, version in backend.versions().items())]
    except BackendError as error:
        parts = [f"no backend: {error}"]
    version = importlib.metadata.version("nanostream")
    return f"nanostream {version} (pixels {PIXELS_VERSION}, {', '.join(parts)})"


def command(name: str) -> type[Command]:
    """Dataclass of a command; imports its module."""
    module, _, attribute = COMMANDS[name].partition(":")
    return cast("type[Command]", getattr(importlib.import_module(module), attribute))
