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

import tarfile
from typing import TYPE_CHECKING, Any, ClassVar, final

from nanostream.formats.codec import encode
from nanostream.formats.sink import Files, Sink, names_of

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable

    from nanostream.formats.encoded import Encoded

__all__ = ["KIND", "WebDatasetSink", "encode", "tar_header", "tar_name", "write_tar"]

KIND = "webdataset"

_SHARD_SAMPLES = 1000


@final
class WebDatasetSink(Sink):
    """Shards in a folder; a part is a shard."""

    kind: ClassVar[str] = KIND
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

    def _put(self, number: int, samples: Iterable[Encoded], files: Files) -> dict[str, Any]:
        name = f"{number:06d}.tar"
        with files.open(name) as write:
            write_tar(samples, write)
        return {"shard": name, **files.written[name]}

    def _fits(self, number: int, manifest: dict[str, Any], files: dict[str, dict[str, Any]]) -> bool:
        name = f"{number:06d}.tar"
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


def tar_name(index: int, field: str) -> str:
    """Name of a sample's field in a shard."""
    # A key must hold no dot: webdataset splits name and field at the first one.
    return f"{index:016d}.{field}"


def tar_header(name: str, size: int) -> bytes:
    """The 512 bytes before a file in a shard: a plain file of mode 644, no owner, no time."""
    # Four times as fast as TarInfo.tobuf, which gives the same; a reader compares every header with it.
    start = (
        name.encode("ascii").ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"0" * 11 + b"\0"
    )
    end = b"0" + bytes(100) + b"ustar\x0000" + bytes(247)
    return start + b"%06o\0 " % (sum(start) + sum(end) + 8 * ord(" ")) + end
