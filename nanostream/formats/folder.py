"""Where a stored set lies: a folder on this machine, or one that fsspec opens, such as s3://bucket/set.

A file gets its name when it is whole: by a rename here, by a put on an object store.
"""

from __future__ import annotations

import abc
import contextlib
import os
import pathlib
import sys
import tempfile
from typing import TYPE_CHECKING, Any, BinaryIO, cast, final

from nanostream.errors import NanostreamError, StoreError
from nanostream.formats.disk import PARTIAL, sync_path, whole_file, writing

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Folder", "LocalFolder", "RemoteFolder", "open_folder"]

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
        self._unsafe: list[pathlib.Path] = []

    def __str__(self) -> str:
        return str(self.path)

    def sizes(self) -> dict[str, int]:
        """Bytes of every file that is there, by name."""
        found = {}
        with writing(self.path):
            for folder, _, names in os.walk(self.path):
                for name in names:
                    file = pathlib.Path(folder, name)
                    found[file.relative_to(self.path).as_posix()] = file.stat().st_size
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
        path = self.path / name
        partial = path.with_name(path.name + PARTIAL)
        with writing(path):
            try:
                try:
                    partial.write_bytes(data)
                except FileNotFoundError:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    partial.write_bytes(data)
                partial.replace(path)
            except OSError:
                with contextlib.suppress(OSError):
                    partial.unlink(missing_ok=True)
                raise
        self._unsafe.append(path)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """File open for writing that takes its name, safe, when the block ends, and is gone if it raises."""
        with writing(self.path):
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
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
            for folder in {path.parent for path in self._unsafe}:
                sync_path(folder)
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


@final
class RemoteFolder(Folder):
    """A folder that fsspec opens."""

    def __init__(self, url: str) -> None:
        import fsspec.core

        self.url = url.rstrip("/")
        with self._spoken("open"):
            files, root = fsspec.core.url_to_fs(self.url)
        self._files: Any = files
        self._root = str(root).rstrip("/")

    def __str__(self) -> str:
        return self.url

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["url"])

    def sizes(self) -> dict[str, int]:
        """Bytes of every file that is there, by name."""
        with self._spoken("list"):
            self._files.invalidate_cache()
            try:
                found = self._files.find(self._root, detail=True)
            except FileNotFoundError:
                return {}
            start = self._root.lstrip("/") + "/"
            return {
                path.lstrip("/").removeprefix(start): int(entry["size"])
                for path, entry in found.items()
                if path.lstrip("/").startswith(start)
            }

    def size(self, name: str) -> int | None:
        """Bytes of a file, None where there is none."""
        with self._spoken("look at", name):
            try:
                return int(self._files.info(self._path(name))["size"])
            except FileNotFoundError:
                return None

    def read(self, name: str, start: int = 0, most: int | None = None) -> bytes:
        """Bytes of a file from `start` on, at most `most` of them."""
        with self._spoken("read", name):
            if start == 0 and most is None:
                return bytes(self._files.cat_file(self._path(name)))
            return bytes(
                self._files.cat_file(self._path(name), start=start, end=None if most is None else start + most)
            )

    def put(self, name: str, data: bytes) -> None:
        """Write a whole file."""
        with self._spoken("write", name):
            self._make_parent(name)
            self._files.pipe_file(self._path(name), data)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """File open for writing here, and put there when the block ends."""
        with writing(pathlib.Path(tempfile.gettempdir())):
            spool = tempfile.NamedTemporaryFile(prefix="nanostream-")  # noqa: SIM115 closed below
        with spool:
            yield cast("BinaryIO", spool)
            with writing(pathlib.Path(spool.name)):
                spool.flush()
            with self._spoken("write", name):
                self._make_parent(name)
                self._files.put_file(spool.name, self._path(name))

    def flush(self) -> None:
        """Nothing: what was put is there."""

    def remove(self, name: str) -> None:
        """Remove a file; nothing if there is none."""
        with self._spoken("remove", name), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _make_parent(self, name: str) -> None:
        # Object stores have no folders; the others want them first.
        self._files.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)

    @contextlib.contextmanager
    def _spoken(self, verb: str, name: str = "") -> Iterator[None]:
        """Turn what a file system says into a StoreError of one sentence."""
        try:
            yield
        except (NanostreamError, FileNotFoundError) as error:
            if isinstance(error, NanostreamError):
                raise
            msg = f"expected to {verb} {self.url}/{name}, but there is no such file: name a folder that export wrote"
            raise StoreError(msg) from error
        # Each file system has errors of its own: of its client, of the network, of a missing package.
        except Exception as error:
            reason = " ".join(f"{error or type(error).__name__}".split())[:300]
            msg = f"expected to {verb} {self.url}/{name}, but {reason}: check address, rights and connection, and go on"
            raise StoreError(msg) from error


def open_folder(where: str | os.PathLike[str] | Folder) -> Folder:
    """The folder of a path or of an address such as s3://bucket/set; nothing is made."""
    if isinstance(where, Folder):
        return where
    text = os.fspath(where)
    if text.startswith(("file://", "local://")):
        text = text.partition("://")[2]
    if "://" in text:
        return RemoteFolder(text)
    path = pathlib.Path(text)
    with writing(path):
        return LocalFolder(path.expanduser().resolve())
