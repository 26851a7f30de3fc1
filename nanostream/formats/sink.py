"""A stored set as parts: each is written whole, in any order, and vouched for by its manifest.

    folder/
      nanostream.json          the set: recipe, range, part size, versions; written first
      ...                      what the kind of set consists of
      manifests/000000.json    range, and the bytes and SHA-256 of each file of a part; written last
      manifests/set.json       the same for files of the whole set; its presence says that it is whole

Which indices a part holds follows from the description alone. An export that was killed goes on with
the parts that have no manifest, and ends with the same bytes. WebDataset keeps its manifests beside
its shards, see webdataset.py.
"""

from __future__ import annotations

import abc
import contextlib
import hashlib
import re
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, cast, final

from nanostream.errors import StoreError
from nanostream.formats.codec import MAX_FIELD_BYTES, dump_json, parse_json
from nanostream.formats.disk import PARTIAL, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    from nanostream.formats.encoded import Encoded
    from nanostream.formats.folder import Folder
    from nanostream.formats.provenance import Provenance

__all__ = ["DESCRIPTION", "Files", "Sink", "names_of", "read_json", "sealed"]

DESCRIPTION = "nanostream.json"
_SET = "manifests/set.json"


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


class Sink(abc.ABC):
    """A set that is being written, or was. A kind of set says how a sample and a part are written.

    shard_size: samples a part.
    """

    kind: ClassVar[str]
    closes: ClassVar[bool] = True
    """Whether files of the whole set are written at the end."""

    ours: ClassVar[re.Pattern[str]]
    """Names of all that stands directly in such a folder, also in one of a killed export."""

    def __init__(self, folder: Folder, provenance: Provenance, *, shard_size: int) -> None:
        self.folder = folder
        self.provenance = provenance
        self.shard_size = min(shard_size, provenance.count)

    @staticmethod
    @abc.abstractmethod
    def default_size(one: Encoded) -> int:
        """Samples a part unless told, by a sample."""

    @abc.abstractmethod
    def _put(self, number: int, samples: Iterable[Encoded], files: Files) -> dict[str, Any]:
        """Write one part, and return what its manifest says besides."""

    def _close(self, files: Files) -> None:
        """Write what is known only once all parts are there; nothing where `closes` is False."""
        raise NotImplementedError

    def _fits(self, number: int, manifest: dict[str, Any], files: dict[str, dict[str, Any]]) -> bool:
        """Whether a manifest states what this kind of set adds to it; files: those it vouches for."""
        del number, manifest, files
        return True

    def _scratch(self, name: str) -> bool:
        """Whether a file is only needed until the set is whole."""
        return name.endswith(PARTIAL)

    def manifest_name(self, number: int) -> str:
        """Name of a part's manifest."""
        return f"manifests/{number:06d}.json"

    @final
    @property
    def parts(self) -> int:
        """Number of parts."""
        return -(-self.provenance.count // self.shard_size)

    @final
    def indices(self, number: int) -> range:
        """Indices of the samples of a part."""
        start = self.provenance.start + number * self.shard_size
        return range(start, min(start + self.shard_size, self.provenance.stop))

    @final
    def description(self) -> dict[str, Any]:
        """What the set says of itself."""
        return self.provenance.dump(kind=self.kind, shard_size=self.shard_size)

    @final
    def begin(self) -> None:
        """Write the description."""
        self.folder.put(DESCRIPTION, sealed(self.description()))
        self.folder.flush()

    @final
    def whole(self, names: Iterable[str] | None = None) -> bool:
        """Whether every part, and what closes the set, has its manifest."""
        there = set(self.folder.sizes() if names is None else names)
        return all(name in there for name in self.manifest_names())

    @final
    def unfinished(self) -> bool:
        """Whether an export was interrupted, be it while it cleared up."""
        names = self.folder.sizes()
        return not self.whole(names) or any(map(self._scratch, names))

    @final
    def manifest_names(self) -> list[str]:
        """Names of all manifests of the set."""
        return [*map(self.manifest_name, range(self.parts)), *([_SET] if self.closes else [])]

    @final
    def missing(self) -> list[int]:
        """Parts without a manifest, or with a file that is not there as the manifest states."""
        sizes = self.folder.sizes()
        absent = []
        for number in range(self.parts):
            if self.manifest_name(number) not in sizes:
                absent.append(number)
                continue
            files = self.files(self.manifest_name(number))
            if any(sizes.get(name) != entry["bytes"] for name, entry in files.items()):
                absent.append(number)
        return absent

    @final
    def put(self, number: int, samples: Iterable[Encoded]) -> None:
        """Write one part, then its manifest. Raises StoreError where either cannot be."""
        files = Files(self.folder)
        more = self._put(number, samples, files)
        self.folder.flush()
        own = self.indices(number)
        manifest = {
            "start": own.start,
            "count": len(own),
            "recipe": self.provenance.recipe_hash,
            "build": self.provenance.build_hash,
            "seed": self.provenance.seed,
            "files": files.written,
            **more,
        }
        self.folder.put(self.manifest_name(number), sealed(manifest))
        self.folder.flush()

    @final
    def close(self) -> None:
        """Write what makes a whole set of the parts, and clear away what is needed no more."""
        if self.closes and self.folder.size(_SET) is None:
            files = Files(self.folder)
            self._close(files)
            self.folder.flush()
            self.folder.put(_SET, sealed({"files": files.written}))
            self.folder.flush()
        for name in self.folder.sizes():
            if self._scratch(name):
                self.folder.remove(name)

    @final
    def files(self, manifest: str) -> dict[str, dict[str, Any]]:
        """Bytes and SHA-256 of each file that a manifest vouches for."""
        name = f"{manifest} of {self.folder}"
        stated = read_json(self.folder, manifest).get("files")
        if not isinstance(stated, dict):
            _lies(name, "files by name", stated)
        for file, entry in stated.items():
            fits = isinstance(entry, dict) and entry.keys() == {"bytes", "sha256"} and type(entry["bytes"]) is int
            if not fits or not isinstance(entry["sha256"], str) or not _inside(file):
                _lies(name, "bytes and sha256 of a file inside the folder", f"{file!r}: {entry!r}")
        return cast("dict[str, dict[str, Any]]", stated)

    @final
    def manifest(self, number: int) -> dict[str, Any]:
        """Manifest of one part. Raises StoreError if it does not fit the set's description."""
        name = self.manifest_name(number)
        manifest = read_json(self.folder, name)
        own = self.indices(number)
        expected = {
            "start": own.start,
            "count": len(own),
            "recipe": self.provenance.recipe_hash,
            "build": self.provenance.build_hash,
            "seed": self.provenance.seed,
        }
        for key, value in expected.items():
            if manifest.get(key) != value:
                msg = (
                    f"expected {key} {value!r} in {name} of {self.folder}, got {manifest.get(key)!r}: "
                    "part and set belong to different exports, export it again"
                )
                raise StoreError(msg)
        if not self._fits(number, manifest, self.files(name)):
            _lies(f"{name} of {self.folder}", f"what a part of a {self.kind} set states", sorted(manifest))
        return manifest


def names_of(*patterns: str) -> re.Pattern[str]:
    """Names that stand directly in a folder, those of any set among them."""
    return re.compile("|".join((r"nanostream\.json", "manifests", rf".*{re.escape(PARTIAL)}", *patterns)))


def sealed(values: dict[str, Any]) -> bytes:
    """JSON that carries the SHA-256 of itself without it."""
    return dump_json({**values, "seal": hashlib.sha256(dump_json(values)).hexdigest()}) + b"\n"


def read_json(folder: Folder, name: str) -> dict[str, Any]:
    """What `sealed` wrote into a file. Raises StoreError if it is missing or was changed."""
    # One byte more than any may have; the parser refuses it with the rest unread.
    values = parse_json(folder.read(name, 0, MAX_FIELD_BYTES + 1), f"{name} of {folder}")
    seal = values.pop("seal", None)
    if seal != hashlib.sha256(dump_json(values)).hexdigest():
        _lies(f"{name} of {folder}", "the SHA-256 of its content as 'seal'", seal)
    return values


def _inside(name: str) -> bool:
    """Whether a name stays in the folder."""
    return not name.startswith("/") and "\\" not in name and ".." not in name.split("/") and ":" not in name


def _lies(name: str, expected: str, got: object) -> NoReturn:
    msg = f"{name} is damaged: expected {expected}, got {got!r}; export or copy it again"
    raise StoreError(msg)
