"""Writing a texture's file."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from nanostream.errors import StoreError

if TYPE_CHECKING:
    import pathlib

__all__ = ["write_whole"]


def write_whole(content: bytes, path: pathlib.Path) -> str:
    """Write a file over what is there, whole or not at all; returns its SHA-256; StoreError if it cannot be written."""
    # Written beside its place and then moved: neither a kill nor a full disk leaves half a file under the final name.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            part.write_bytes(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        msg = f"expected to write a texture to {path}, but that failed ({error}): check the folder and the free space"
        raise StoreError(msg) from error
    return hashlib.sha256(content).hexdigest()
