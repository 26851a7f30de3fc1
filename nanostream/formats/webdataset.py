"""WebDataset shards: plain tar files that the webdataset library, and tar itself, open.

    folder/
      nanostream.json    the set: recipe, range, shard size, versions; written first
      000000.tar         samples start .. start + shard_size - 1, three files each
      000000.json        its manifest: range, bytes, sha256; written last, so it vouches for the tar

Which indices a shard holds follows from the description alone, so shards may be written in any
order and by anyone. Owner, mode, time and order are fixed: the same recipe and range give the same
bytes, as long as zlib stays the same.
"""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING, Any, ClassVar, final

from nanostream.formats.codec import encode
from nanostream.formats.sink import Sink, names_of

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable

    from nanostream.formats.encoded import Encoded
    from nanostream.formats.files import Files

__all__ = ["WebDatasetSink", "encode", "tar_bytes", "tar_header", "tar_name", "write_tar"]

_SHARD_SAMPLES = 1000

# What stands between name, size and checksum of a header: mode and owner; time; kind, format and the rest.
_MODE = b"0000644\0" + b"0000000\0" * 2
_TIME = b"\0" + b"0" * 11 + b"\0"
_REST = b"0" + bytes(100) + b"ustar\x0000" + bytes(247)
_CHECKSUM = sum(_MODE + _TIME + b" " * 8 + _REST)


@final
class WebDatasetSink(Sink):
    """Shards in a folder; a part is a shard."""

    kind: ClassVar[str] = "webdataset"
    closes: ClassVar[bool] = False
    ours: ClassVar[re.Pattern[str]] = names_of(r"\d{6,}\.(tar|json)")

    @staticmethod
    def default_size(one: Encoded) -> int:
        """Samples a shard unless told."""
        del one
        return _SHARD_SAMPLES

    def manifest_name(self, number: int) -> str:
        """Name of a shard's manifest, beside the shard."""
        return f"{number:06d}.json"

    def part_files(self, number: int) -> tuple[str, ...]:
        """Name of a shard."""
        return (f"{number:06d}.tar",)

    def _put(self, number: int, samples: Iterable[Encoded], files: Files) -> dict[str, Any]:
        (name,) = self.part_files(number)
        with files.open(name) as write:
            write_tar(samples, write)
        return {"shard": name, **files.written[name]}

    def _fits(self, number: int, manifest: dict[str, Any], files: dict[str, dict[str, Any]]) -> bool:
        (name,) = self.part_files(number)
        stated = {key: manifest.get(key) for key in ("bytes", "sha256")}
        return manifest.get("shard") == name and files == {name: stated}


def write_tar(samples: Iterable[Encoded], write: Callable[[bytes], None]) -> None:
    """A whole tar file of the samples' fields."""
    nbytes = 0
    for sample in samples:
        for field, value in sample.fields.items():
            padding = bytes(-len(value) % tarfile.BLOCKSIZE)
            write(b"".join((tar_header(tar_name(sample.index, field), len(value)), value, padding)))
            nbytes += tarfile.BLOCKSIZE + len(value) + len(padding)
    # Two empty blocks end a tar, which is a whole number of records.
    write(bytes(2 * tarfile.BLOCKSIZE + -(nbytes + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE))


def tar_bytes(sample: Encoded) -> int:
    """Bytes that a sample takes in a tar file."""
    block = tarfile.BLOCKSIZE
    return sum(block + len(value) + -len(value) % block for value in sample.fields.values())


def tar_name(index: int, field: str) -> str:
    """Name of a sample's field in a shard."""
    # A key must hold no dot: webdataset splits name and field at the first one.
    return f"{index:016d}.{field}"


def tar_header(name: str, size: int) -> bytes:
    """The 512 bytes before a file in a shard: a plain file of mode 644, no owner, no time."""
    # Ten times as fast as TarInfo.tobuf, which gives the same; a reader compares every header with it.
    own, digits = name.encode("ascii"), b"%011o" % size
    checksum = b"%06o\0 " % (_CHECKSUM + sum(own) + sum(digits))
    return b"".join((own.ljust(100, b"\0"), _MODE, digits, _TIME, checksum, _REST))
