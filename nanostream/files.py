"""Files that appear under their names only when they are whole."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

from nanostream.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["whole_file", "write_json", "write_text"]


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Path to write to instead; what stands there at the end takes the place of `path`.

    The folder is made. Raises StoreError if it cannot be written, and leaves nothing behind then.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        msg = f"expected to write {str(path)!r}, got {error}: free the disk or choose another place"
        raise StoreError(msg) from error


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8; raises StoreError if it cannot be written."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write JSON; raises StoreError if it cannot be written."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
