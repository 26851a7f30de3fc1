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
import itertools
import re
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast, final

from nanostream.errors import StoreError
from nanostream.formats.disk import PARTIAL
from nanostream.formats.files import Files
from nanostream.formats.provenance import Provenance
from nanostream.formats.seal import damaged, read_json, sealed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nanostream.formats.encoded import Encoded
    from nanostream.formats.folder import Folder

__all__ = ["DESCRIPTION", "SET", "Sink", "names_of"]

DESCRIPTION = "nanostream.json"
"""What a set says of itself."""

SET = "manifests/set.json"
"""Manifest of the files of the whole set."""

_WAITING = ".part"
_PART_SAMPLES = 64


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

    @final
    @classmethod
    def open(cls, folder: Folder) -> Self:
        """The set that stands in a folder. Raises StoreError where there is none of this kind."""
        name = f"{DESCRIPTION} of {folder}"
        provenance, size = Provenance.parse(read_json(folder, DESCRIPTION), kind=cls.kind, name=name)
        return cls(folder, provenance, shard_size=size)

    @staticmethod
    def default_size(one: Encoded) -> int:
        """Samples a part unless told, by a sample."""
        del one
        return _PART_SAMPLES

    @abc.abstractmethod
    def _put(self, number: int, samples: Iterable[Encoded], files: Files) -> dict[str, Any]:
        """Write one part, and return what its manifest says besides."""

    def _close(self, files: Files) -> None:
        """Write what is known only once all parts are there; a set that closes without more writes nothing."""
        del files

    def _fits(self, number: int, manifest: dict[str, Any], files: dict[str, dict[str, Any]]) -> bool:
        """Whether a manifest states what this kind of set adds to it; files: those it vouches for."""
        del number, manifest, files
        return True

    def manifest_name(self, number: int) -> str:
        """Name of a part's manifest."""
        return f"manifests/{number:06d}.json"

    def part_files(self, number: int) -> tuple[str, ...]:
        """Names of the files that a part consists of, where they follow from its number alone."""
        del number
        return ()

    @final
    def waiting_name(self, number: int, what: str = "all") -> str:
        """Name of what a part keeps for the files of the whole set, until these are written."""
        return f"manifests/{number:06d}.{what}{_WAITING}"

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
        return not self.whole(names) or any(map(_scratch, names))

    @final
    def manifest_names(self) -> Iterator[str]:
        """Names of all manifests of the set; one by one, since a count that lies may be of any size."""
        yield from map(self.manifest_name, range(self.parts))
        if self.closes:
            yield SET

    @final
    def check_whole(self) -> dict[str, int]:
        """Bytes of every file, by name. Raises StoreError for a set that lacks one."""
        sizes = self.folder.sizes()
        files = itertools.chain.from_iterable(map(self.part_files, range(self.parts)))
        for name in itertools.chain(self.manifest_names(), files):
            if not sizes.get(name):
                msg = (
                    f"expected {self.parts} parts with their manifests in {self.folder}, {name} is missing or empty: "
                    "export or copy the set again"
                )
                raise StoreError(msg)
        return sizes

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
        manifest = {**self._told(number), "files": files.written, **more}
        self.folder.put(self.manifest_name(number), sealed(manifest))
        self.folder.flush()

    @final
    def close(self) -> None:
        """Write what makes a whole set of the parts, and clear away what is needed no more."""
        if self.closes and self.folder.size(SET) is None:
            files = Files(self.folder)
            self._close(files)
            self.folder.flush()
            self.folder.put(SET, sealed({"files": files.written}))
            self.folder.flush()
        for name in self.folder.sizes():
            if _scratch(name):
                self.folder.remove(name)

    @final
    def files(self, manifest: str) -> dict[str, dict[str, Any]]:
        """Bytes and SHA-256 of each file that a manifest vouches for."""
        name = f"{manifest} of {self.folder}"
        stated = read_json(self.folder, manifest).get("files")
        if not isinstance(stated, dict):
            damaged(name, "files by name", stated)
        for file, entry in stated.items():
            fits = isinstance(entry, dict) and entry.keys() == {"bytes", "sha256"} and type(entry["bytes"]) is int
            if not fits or not isinstance(entry["sha256"], str) or not _inside(file):
                damaged(name, "bytes and sha256 of a file inside the folder", f"{file!r}: {entry!r}")
        return cast("dict[str, dict[str, Any]]", stated)

    @final
    def manifest(self, number: int) -> dict[str, Any]:
        """Manifest of one part. Raises StoreError if it does not fit the set's description."""
        name = self.manifest_name(number)
        manifest = read_json(self.folder, name)
        for key, value in self._told(number).items():
            if manifest.get(key) != value:
                msg = (
                    f"expected {key} {value!r} in {name} of {self.folder}, got {manifest.get(key)!r}: "
                    "part and set belong to different exports, export it again"
                )
                raise StoreError(msg)
        if not self._fits(number, manifest, self.files(name)):
            damaged(f"{name} of {self.folder}", f"what a part of a {self.kind} set states", sorted(manifest))
        return manifest

    def _told(self, number: int) -> dict[str, Any]:
        """What the manifest of a part says of its samples."""
        own, told = self.indices(number), self.provenance
        origin = {"recipe": told.recipe_hash, "build": told.build_hash, "seed": told.seed}
        return {"start": own.start, "count": len(own), **origin}


def names_of(*patterns: str) -> re.Pattern[str]:
    """Names that stand directly in a folder, those of any set among them."""
    return re.compile("|".join((r"nanostream\.json", "manifests", rf".*{re.escape(PARTIAL)}", *patterns)))


def _scratch(name: str) -> bool:
    """Whether a file is only needed until the set is whole."""
    return name.endswith((PARTIAL, _WAITING))


def _inside(name: str) -> bool:
    """Whether a name stays in the folder."""
    return not name.startswith("/") and "\\" not in name and ".." not in name.split("/") and ":" not in name
