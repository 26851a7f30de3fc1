"""Files on their way into a folder, with what a manifest says of them."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Any

from nanostream.formats.disk import writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from nanostream.formats.folder import Folder

__all__ = ["Files"]


class Files:
    """Files on their way into a folder, with size and SHA-256 of each."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.written: dict[str, dict[str, Any]] = {}

    def put(self, name: str, data: bytes) -> None:
        """Write a whole file."""
        self._folder.put(name, data)
        self.written[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Callable[[bytes], None]]:
        """A function that writes on to a file, which is there when the block ends."""
        with self._folder.open(name) as file:
            hashed = _Hashed(file, name)
            yield hashed.write
        self.written[name] = {"bytes": hashed.bytes, "sha256": hashed.sha256.hexdigest()}


class _Hashed:
    """A file that is being written, with the bytes and the SHA-256 of what passed."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self.sha256 = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> None:
        with writing(self._name):
            self._file.write(data)
        self.sha256.update(data)
        self.bytes += len(data)
