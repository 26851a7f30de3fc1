"""Where a stored set lies: a folder on this machine, or one that fsspec opens, such as s3://bucket/set.

A file gets its name when it is whole: by a rename here, by a put on an object store.
"""

from __future__ import annotations

import abc
import contextlib
import os
import pathlib
import sys
from typing import TYPE_CHECKING, BinaryIO, final

from nanostream.errors import StoreError
from nanostream.formats.disk import PARTIAL, sync_path, whole_file, writing

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Folder", "LocalFolder", "open_folder"]

_MANY = 64
"""Files from which on one wait for everything costs less than one wait for each."""


class Folder(abc.ABC):
    """Files by name, with "/" between the parts of a name. Everything raises StoreError where it fails."""

    @abc.abstractmethod
    def sizes(self) -> dict[str, int]:
        """Bytes of every file that is there, by name; empty where there is no folder."""

    @abc.abstractmethod
    def size(self, name: str) -> int | None:
        """Bytes of a file, None where there is none."""

    @abc.abstractmethod
    def read(self, name: str, start: int = 0, most: int | None = None) -> bytes:
        """Bytes of a file from `start` on, at most `most` of them."""

    @abc.abstractmethod
    def put(self, name: str, data: bytes) -> None:
        """Write a whole file; it is safe from a power cut once `flush` has returned."""

    @abc.abstractmethod
    def open(self, name: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """File open for writing that takes its name, safe, when the block ends, and is gone if it raises."""

    @abc.abstractmethod
    def flush(self) -> None:
        """Wait until all that was put is safe."""

    @abc.abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file; nothing if there is none."""


@final
class LocalFolder(Folder):
    """A folder of this machine."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._unsafe: list[str] = []
        self._made: set[str] = set()

    def __str__(self) -> str:
        return str(self.path)

    def sizes(self) -> dict[str, int]:
        """Bytes of every file that is there, by name."""
        found = {}
        start = len(str(self.path)) + 1
        with writing(self.path):
            for folder, _, names in os.walk(self.path):
                for name in names:
                    # Thousands of small files are read and written as text: pathlib takes as long as the disk.
                    path = os.path.join(folder, name)  # noqa: PTH118
                    found[path[start:].replace(os.sep, "/")] = os.stat(path).st_size  # noqa: PTH116
        return found

    def size(self, name: str) -> int | None:
        """Bytes of a file, None where there is none."""
        try:
            path = self.path / name
            return path.stat().st_size if path.is_file() else None
        except OSError:
            return None

    def read(self, name: str, start: int = 0, most: int | None = None) -> bytes:
        """Bytes of a file from `start` on, at most `most` of them."""
        try:
            with (self.path / name).open("rb") as file:
                file.seek(start)
                return file.read(-1 if most is None else most)
        except OSError as error:
            msg = f"expected to read {self.path / name}, but {error.strerror}: name a folder that export wrote"
            raise StoreError(msg) from error

    def put(self, name: str, data: bytes) -> None:
        """Write a whole file; it is safe from a power cut once `flush` has returned."""
        path = f"{self.path}/{name}"
        partial = path + PARTIAL
        with writing(path):
            try:
                self._make(partial.rpartition("/")[0])
                with open(partial, "wb") as file:  # noqa: PTH123 as above
                    file.write(data)
                os.replace(partial, path)  # noqa: PTH105 as above
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(partial)  # noqa: PTH108 as above
                raise
        self._unsafe.append(path)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """File open for writing that takes its name, safe, when the block ends, and is gone if it raises."""
        with writing(self.path):
            self._make(f"{self.path}/{name}".rpartition("/")[0])
        with whole_file(self.path / name) as file:
            yield file

    def flush(self) -> None:
        """Wait until all that was put is safe."""
        with writing(self.path):
            if len(self._unsafe) > _MANY and sys.platform == "linux":
                # One wait for all that is on its way to any disk costs a tenth of one wait a file.
                os.sync()
                self._unsafe.clear()
            for path in self._unsafe:
                sync_path(path)
            for parent in {path.rpartition("/")[0] for path in self._unsafe}:
                sync_path(parent)
        self._unsafe.clear()

    def remove(self, name: str) -> None:
        """Remove a file, and the folders that it leaves empty."""
        path = self.path / name
        with writing(path):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            for parent in path.parents:
                if parent == self.path:
                    break
                parent.rmdir()
                self._made.discard(str(parent))

    def _make(self, folder: str) -> None:
        """Make a folder of the set, and those around it, where this object has not done so."""
        if folder in self._made:
            return
        if len(folder) > len(str(self.path)):
            self._make(folder.rpartition("/")[0])
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)  # noqa: PTH102 as above
        else:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103 as above
        self._made.add(folder)


def open_folder(where: str | os.PathLike[str] | Folder) -> Folder:
    """The folder of a path or of an address such as s3://bucket/set; nothing is made."""
    if isinstance(where, Folder):
        return where
    text = os.fspath(where)
    if text.startswith(("file://", "local://")):
        text = text.partition("://")[2]
    if "://" in text:
        from nanostream.formats.remote import RemoteFolder

        return RemoteFolder(text)
    path = pathlib.Path(text)
    with writing(path):
        return LocalFolder(path.expanduser().resolve())
