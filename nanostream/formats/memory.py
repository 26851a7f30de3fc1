"""A folder in memory, for a set that becomes one file: a zip that Zarr, unzip and TensorStore open."""

from __future__ import annotations

import contextlib
import io
import zipfile
from typing import TYPE_CHECKING, BinaryIO, final

from nanostream.errors import StoreError
from nanostream.formats.folder import Folder

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MemoryFolder"]


@final
class MemoryFolder(Folder):
    """Files by name, in memory."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def __str__(self) -> str:
        return "memory"

    def sizes(self) -> dict[str, int]:
        """Bytes of every file, by name."""
        return {name: len(data) for name, data in self._files.items()}

    def size(self, name: str) -> int | None:
        """Bytes of a file, None where there is none."""
        return len(self._files[name]) if name in self._files else None

    def read(self, name: str, start: int = 0, most: int | None = None) -> bytes:
        """Bytes of a file from `start` on, at most `most` of them."""
        if name not in self._files:
            msg = f"expected {name} in memory, there is no such file: put it there first"
            raise StoreError(msg)
        return self._files[name][start : None if most is None else start + most]

    def put(self, name: str, data: bytes) -> None:
        """Keep a whole file."""
        self._files[name] = data

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """File open for writing that takes its name when the block ends."""
        file = io.BytesIO()
        yield file
        self._files[name] = file.getvalue()

    def flush(self) -> None:
        """Nothing: memory is as safe as it gets."""

    def remove(self, name: str) -> None:
        """Remove a file; nothing if there is none."""
        self._files.pop(name, None)

    def zipped(self) -> bytes:
        """All files as a zip, uncompressed, by name and without times: the same files give the same bytes."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, data in sorted(self._files.items()):
                entry = zipfile.ZipInfo(name)
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, data)
        return packed.getvalue()
