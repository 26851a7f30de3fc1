"""Files of a set on this machine: where they lie, or copies of them that take no more than a limit.

Several processes may share a cache: a copy gets its name when it is whole and checked, and a copy
that is evicted while another process reads it stays readable for that process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import uuid
from typing import TYPE_CHECKING, Any, cast, final

from nanostream.errors import StoreError
from nanostream.formats.disk import PARTIAL, writing
from nanostream.formats.folder import LocalFolder

if TYPE_CHECKING:
    from typing import BinaryIO

    from nanostream.formats.folder import Folder

__all__ = ["CACHE_BYTES", "Cache"]

CACHE_BYTES = 10 * 10**9
"""Bytes that the copies of remote files take at most, unless told."""

_PIECE_BYTES = 2**20


@final
class Cache:
    """Checked files of a folder. where: folder of the copies, ~/.cache/nanostream unless told.

    limit_bytes: what all copies there may take together; the ones unused for longest go first.
    A local folder's files are opened where they are, and their SHA-256 is compared once.
    """

    def __init__(
        self, folder: Folder, *, where: str | os.PathLike[str] | None = None, limit_bytes: int = CACHE_BYTES
    ) -> None:
        self._folder = folder
        home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        self._where = pathlib.Path(where or f"{home}/nanostream").expanduser()
        self._limit_bytes = limit_bytes
        self._checked: set[str] = set()

    def open(self, name: str, entry: dict[str, int | str], *, hashed: bool = True) -> BinaryIO:
        """A file open for reading; entry: `bytes` and `sha256` that its manifest states.

        hashed: whether the SHA-256 of a local file is compared, or its size alone.
        Raises StoreError where the file is missing or differs from its manifest.
        """
        if isinstance(self._folder, LocalFolder):
            return self._opened(self._folder.path / name, name, entry, hashed=hashed)
        sha256 = str(entry["sha256"])
        copy = self._where / f"{sha256}{pathlib.PurePosixPath(name).suffix}"
        for _ in range(2):
            with contextlib.suppress(FileNotFoundError):
                os.utime(copy)
                with contextlib.suppress(StoreError):
                    return self._opened(copy, name, entry)
                copy.unlink(missing_ok=True)
            self._fetch(name, entry, copy)
        return self._opened(copy, name, entry)

    def _opened(self, path: pathlib.Path, name: str, entry: dict[str, int | str], *, hashed: bool = True) -> BinaryIO:
        try:
            file = path.open("rb")
        except FileNotFoundError as error:
            msg = f"expected {name} in {self._folder}, it is missing: export or copy it again"
            raise StoreError(msg) from error
        except OSError as error:
            msg = f"expected to read {path}, but {error.strerror}: look at the rights of the folder"
            raise StoreError(msg) from error
        try:
            if name not in self._checked:
                self._check(file, name, entry, hashed=hashed)
                self._checked.add(name)
        except BaseException:
            file.close()
            raise
        return file

    def _check(self, file: BinaryIO, name: str, entry: dict[str, int | str], *, hashed: bool = True) -> None:
        size = os.fstat(file.fileno()).st_size
        if size != entry["bytes"]:
            msg = (
                f"{name} of {self._folder} is damaged: expected {entry['bytes']} bytes as its manifest says, "
                f"got {size}; export or copy it again"
            )
            raise StoreError(msg)
        if not hashed:
            return
        digest = hashlib.file_digest(cast("Any", file), "sha256").hexdigest()
        file.seek(0)
        if digest != entry["sha256"]:
            msg = (
                f"{name} of {self._folder} is damaged: expected SHA-256 {str(entry['sha256'])[:16]}... as its manifest "
                f"says, got {digest[:16]}...; export or copy it again"
            )
            raise StoreError(msg)

    def _fetch(self, name: str, entry: dict[str, int | str], copy: pathlib.Path) -> None:
        size = int(entry["bytes"])
        if size > self._limit_bytes:
            msg = (
                f"expected a cache of at least {size} bytes for {name} of {self._folder}, got {self._limit_bytes}: "
                "raise cache_bytes"
            )
            raise StoreError(msg)
        partial = copy.with_name(f"{copy.name}.{uuid.uuid4().hex}{PARTIAL}")
        with writing(self._where):
            self._where.mkdir(parents=True, exist_ok=True)
            self._evict(self._limit_bytes - size)
        try:
            with writing(partial), partial.open("wb") as file:
                for start in range(0, size, _PIECE_BYTES * 16):
                    file.write(self._folder.read(name, start, min(_PIECE_BYTES * 16, size - start)))
            with partial.open("rb") as file:
                self._check(file, name, entry)
            with writing(copy):
                partial.replace(copy)
        finally:
            partial.unlink(missing_ok=True)

    def _evict(self, most: int) -> None:
        """Remove the copies that were unused for longest until at most `most` bytes are left."""
        copies = []
        for path in self._where.iterdir():
            with contextlib.suppress(FileNotFoundError):
                known = path.stat()
                copies.append((known.st_mtime, known.st_size, path))
        total = sum(size for _, size, _ in copies)
        for _, size, path in sorted(copies):
            if total <= most:
                return
            path.unlink(missing_ok=True)
            total -= size
