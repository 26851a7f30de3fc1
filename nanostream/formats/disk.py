"""Whole files or none: a temporary name, then the bytes on the disk, then the final name."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from typing import TYPE_CHECKING, BinaryIO

from nanostream.errors import NanostreamError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["PARTIAL", "remove_tree", "sync_path", "whole_file", "whole_folder", "writing"]

PARTIAL = ".partial"
"""Ending of what is still being written."""

_REASONS = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another folder",
    errno.EFBIG: "the file grew past the limit set for it: choose smaller shards or raise the limit",
    errno.EROFS: "the disk is read-only: choose another folder",
    errno.EACCES: "access is denied: choose a folder you may write to",
    errno.EPERM: "access is denied: choose a folder you may write to",
}


@contextlib.contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turn what the system says against writing to the path into a StoreError of one sentence."""
    try:
        yield
    except NanostreamError:
        raise
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, f"{error.strerror or error}: choose another folder")
        msg = f"expected to write {path}, but {reason}"
        raise StoreError(msg) from error


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """File open for writing that takes its name when the block ends, and is gone if it raises.

    What the block raises passes as it is; its own writes belong into `writing`.
    Raises StoreError if the file cannot be made, finished or named.
    """
    partial = path.with_name(path.name + PARTIAL)
    with writing(path):
        file = partial.open("wb")
    try:
        yield file
        with writing(path):
            file.flush()
            os.fsync(file.fileno())
            file.close()
            partial.replace(path)
            sync_path(path.parent)
    finally:
        # A full disk fails once more when the buffer is flushed; the first error says why.
        with contextlib.suppress(OSError):
            file.close()
        # Gone already where it took its name.
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Folder beside the path that takes its name when the block ends, and is gone if it raises.

    The path may be an empty folder. Raises StoreError if the folder cannot be made or moved.
    """
    partial = path.with_name(f"{path.name}{PARTIAL}-{os.getpid()}")
    with writing(partial):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
    try:
        yield partial
        with writing(path):
            _sync_tree(partial)
            if path.is_dir():
                path.rmdir()
            partial.replace(path)
            sync_path(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_tree(path: Path) -> None:
    """Remove a folder with all in it. Raises StoreError if the system does not let it go."""
    with writing(path):
        shutil.rmtree(path)


def _sync_tree(path: Path) -> None:
    """Wait until every file of a folder is on the disk."""
    for folder, _, names in os.walk(path):
        for name in names:
            sync_path(path.__class__(folder, name))
        sync_path(path.__class__(folder))


def sync_path(path: Path | str) -> None:
    """Wait until a file or a folder's entries are on the disk; OSError where the system says so."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
