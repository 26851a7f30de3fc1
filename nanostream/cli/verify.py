"""`nanostream verify`: whether a written set is whole and sound."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import tyro

__all__ = ["Verify"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verify:
    """Check an export: its description, its manifests, the SHA-256 of every file, and every sample."""

    folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """What `nanostream export` wrote: a folder, or an address such as s3://bucket/set."""

    hashes_only: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Compare the files, and read no sample."""

    def run(self) -> None:
        """Check, and print what is wrong."""
        from rich.console import Console
        from rich.progress import Progress

        from nanostream.errors import StoreError
        from nanostream.formats.verify import verify

        with Progress(console=Console(stderr=True), transient=True) as shown:
            task = shown.add_task("verifying", total=None)
            problems = verify(self.folder, decode=not self.hashes_only, progress=lambda done: shown.advance(task, done))
            count = int(shown.tasks[0].completed)
        for problem in problems:
            print(problem)
        if problems:
            msg = f"expected a whole and sound set in {self.folder}, got {len(problems)} problems: see above"
            raise StoreError(msg)
        print(f"Verified {count} samples in {self.folder}: every file is as its manifest says.")
