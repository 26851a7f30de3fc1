"""WebDataset shards: plain tar files that the webdataset library, and tar itself, open.

    folder/
      nanostream.json    the set: recipe, range, shard size, versions; written first
      000000.tar         samples start .. start + shard_size - 1, three files each
      000000.json        its manifest: range, bytes, sha256; written last, so it vouches for the tar

Which indices a shard holds follows from the description alone, so shards may be written in any
order and by anyone. Owner, mode, time and order are fixed: the same recipe and range give the same
bytes, as long as Pillow and zlib stay the same.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import re
import tarfile
from typing import TYPE_CHECKING, BinaryIO, cast

from nanostream.formats.codec import dump_json, encode
from nanostream.formats.disk import whole_file, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from nanostream.formats.provenance import Provenance
    from nanostream.sample import Sample

__all__ = ["DESCRIPTION", "KIND", "OURS", "write_shard", "write_webdataset"]

KIND = "webdataset"
DESCRIPTION = "nanostream.json"
OURS = re.compile(r"nanostream\.json|\d{6,}\.(tar|json)|.*\.partial")
"""Names of all that an export leaves in its folder, also a killed one."""

_SHARD_SAMPLES = 1000


def write_webdataset(
    samples: Iterable[Sample],
    folder: Path,
    *,
    provenance: Provenance,
    shard_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write the samples of one range into shards in an empty or new folder.

    samples: in the order of their indices. shard_size: samples a shard, 1000 unless told.
    progress: called with 1 after each sample.
    Raises StoreError if a sample does not belong to the range or if writing fails; whole shards
    stay, and no half-written one has its final name.
    """
    size = _SHARD_SAMPLES if shard_size is None else shard_size
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / DESCRIPTION, provenance.dump(kind=KIND, shard_size=size))
    stream = provenance.checked(samples)
    for number, first in enumerate(range(provenance.start, provenance.stop, size)):
        count = min(size, provenance.stop - first)
        shard = itertools.islice(stream, count)
        write_shard(shard, folder, number=number, provenance=provenance, progress=progress)


def write_shard(
    samples: Iterable[Sample],
    folder: Path,
    *,
    number: int,
    provenance: Provenance,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write the samples of one shard, then its manifest. Raises StoreError if it cannot be."""
    path = folder / f"{number:06d}.tar"
    indices = []
    with whole_file(path) as file:
        hashed = _Hashed(file)
        with tarfile.open(fileobj=cast("BinaryIO", hashed), mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for sample in samples:
                fields = encode(sample)
                with writing(path):
                    for field, value in fields.items():
                        tar.addfile(_entry(sample.index, field, len(value)), io.BytesIO(value))
                indices.append(sample.index)
                if progress is not None:
                    progress(1)
            with writing(path):
                tar.close()
    manifest = {
        "shard": path.name,
        "start": indices[0],
        "count": len(indices),
        "bytes": hashed.tell(),
        "sha256": hashed.hexdigest(),
        "recipe": provenance.recipe_hash,
        "build": provenance.build_hash,
        "seed": provenance.seed,
    }
    _write_json(path.with_suffix(".json"), manifest)


class _Hashed:
    """The part of a file that tarfile writes to, with the SHA-256 of what passed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._bytes = 0

    def write(self, data: bytes) -> int:
        self._sha256.update(data)
        self._bytes += len(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self._bytes

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


def _entry(index: int, field: str, size: int) -> tarfile.TarInfo:
    # A key must hold no dot: webdataset splits name and field at the first one.
    entry = tarfile.TarInfo(f"{index:016d}.{field}")
    entry.size = size
    entry.mode = 0o644
    entry.mtime = 0
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _write_json(path: Path, value: object) -> None:
    data = dump_json(value) + b"\n"
    with whole_file(path) as file, writing(path):
        file.write(data)
