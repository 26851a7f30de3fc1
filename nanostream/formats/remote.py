"""A folder elsewhere, that fsspec opens: s3://bucket/set, and whatever else it has a client for."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
from typing import TYPE_CHECKING, Any, BinaryIO, cast, final

import fsspec.core

from nanostream.errors import NanostreamError, StoreError
from nanostream.formats.disk import writing
from nanostream.formats.folder import Folder

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RemoteFolder"]

_FLAT = frozenset({"abfs", "abfss", "adl", "az", "gcs", "gs", "memory", "oci", "oss", "s3", "s3a"})
"""Object stores have no folders, and asking for one takes as long as a put."""

_MOST_FILES, _MOST_BYTES = 64, 2**25
"""Small files that go in one piece: clients put them side by side, where one after the other would wait for each."""


@final
class RemoteFolder(Folder):
    """A folder that fsspec opens."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        with self._spoken("open"):
            files, root = fsspec.core.url_to_fs(self.url)
        self.files: Any = files
        self.root = str(root).rstrip("/")
        names = files.protocol
        self._flat = bool(_FLAT.intersection([names] if isinstance(names, str) else names))
        self._made: set[str] = set()
        self._waiting: dict[str, bytes] = {}

    def __str__(self) -> str:
        return self.url

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["url"])

    def sizes(self) -> dict[str, int]:
        """Bytes of every file that is there, by name."""
        self.flush()
        with self._spoken("list"):
            self.files.invalidate_cache()
            try:
                found = self.files.find(self.root, detail=True)
            except FileNotFoundError:
                return {}
            start = self.root.lstrip("/") + "/"
            return {
                path.lstrip("/").removeprefix(start): int(entry["size"])
                for path, entry in found.items()
                if path.lstrip("/").startswith(start)
            }

    def size(self, name: str) -> int | None:
        """Bytes of a file, None where there is none."""
        self.flush()
        with self._spoken("look at", name):
            try:
                return int(self.files.info(self._path(name))["size"])
            except FileNotFoundError:
                return None

    def read(self, name: str, start: int = 0, most: int | None = None) -> bytes:
        """Bytes of a file from `start` on, at most `most` of them."""
        self.flush()
        with self._spoken("read", name):
            if start == 0 and most is None:
                return bytes(self.files.cat_file(self._path(name)))
            return bytes(self.files.cat_file(self._path(name), start=start, end=None if most is None else start + most))

    def put(self, name: str, data: bytes) -> None:
        """Write a whole file; it is there once `flush` has returned."""
        self._waiting[name] = data
        if len(self._waiting) >= _MOST_FILES or sum(map(len, self._waiting.values())) >= _MOST_BYTES:
            self.flush()

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
                self.files.put_file(spool.name, self._path(name))

    def flush(self) -> None:
        """Wait until all that was put is there."""
        waiting, self._waiting = self._waiting, {}
        if not waiting:
            return
        with self._spoken("write", next(iter(waiting))):
            for name in waiting:
                self._make_parent(name)
            self.files.pipe({self._path(name): data for name, data in waiting.items()})

    def remove(self, name: str) -> None:
        """Remove a file; nothing if there is none."""
        with self._spoken("remove", name), contextlib.suppress(FileNotFoundError):
            self.files.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _make_parent(self, name: str) -> None:
        parent = self._path(name).rpartition("/")[0]
        if not self._flat and parent not in self._made:
            self.files.makedirs(parent, exist_ok=True)
            self._made.add(parent)

    @contextlib.contextmanager
    def _spoken(self, verb: str, name: str = "") -> Iterator[None]:
        """Turn what a file system says into a StoreError of one sentence."""
        try:
            yield
        except NanostreamError:
            raise
        # Each file system has errors of its own: of its client, of the network, of a missing package.
        except Exception as error:
            if isinstance(error, FileNotFoundError) and verb == "read":
                msg = f"expected to read {self.url}/{name}, but there is no such file: name a folder that export wrote"
                raise StoreError(msg) from error
            reason = " ".join(f"{error or type(error).__name__}".split())[:300]
            msg = f"expected to {verb} {self.url}/{name}, but {reason}: check address, rights and connection, and go on"
            raise StoreError(msg) from error
