"""The kinds of sets, by name; the library of each is loaded only where it is used."""

from __future__ import annotations

import difflib
import importlib
import itertools
from typing import TYPE_CHECKING, Final

from nanostream.errors import StoreError
from nanostream.formats.encoded import Encoded
from nanostream.formats.folder import open_folder
from nanostream.formats.seal import read_json
from nanostream.formats.sink import DESCRIPTION

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from nanostream.formats.folder import Folder
    from nanostream.formats.provenance import Provenance
    from nanostream.formats.sink import Sink
    from nanostream.sample import Sample

__all__ = ["FORMATS", "check_format", "counted", "encoder", "open_sink", "sink_class", "write_samples"]

FORMATS: Final = ("webdataset", "zarr", "ome-zarr", "ome-zarr-0.4", "coco", "nnunet")
"""What a stream can be written as."""

_HOMES = {
    "webdataset": ("webdataset", "WebDatasetSink", "encode"),
    "zarr": ("zarr", "ZarrSink", "encode"),
    "ome-zarr": ("ome", "OmeSink", "encode"),
    "ome-zarr-0.4": ("ome", "OldOmeSink", "encode_old"),
    "coco": ("coco", "CocoSink", "encode"),
    "nnunet": ("nnunet", "NnunetSink", "encode"),
}


def check_format(format: object) -> str:  # noqa: A002 the word that the command has too
    """The format. Raises StoreError, with the nearest one, if there is none of that name."""
    if format not in FORMATS:
        near = difflib.get_close_matches(str(format), FORMATS, 1, 0.3)
        hint = f": did you mean {near[0]!r}?" if near else ""
        msg = f"expected a format, one of {', '.join(FORMATS)}, got {format!r}{hint}"
        raise StoreError(msg)
    return str(format)


def sink_class(format: str) -> type[Sink]:  # noqa: A002 as above
    """Class of a format's sets."""
    module, name, _ = _HOMES[check_format(format)]
    return getattr(importlib.import_module(f"nanostream.formats.{module}"), name)


def encoder(format: str) -> Callable[[Sample], dict[str, bytes]]:  # noqa: A002 as above
    """What turns a sample into the bytes of a format."""
    module, _, name = _HOMES[check_format(format)]
    return getattr(importlib.import_module(f"nanostream.formats.{module}"), name)


def open_sink(folder: Folder) -> Sink:
    """The set that a folder's description tells of. Raises StoreError where there is none."""
    kind = read_json(folder, DESCRIPTION).get("kind")
    if kind not in FORMATS:
        msg = (
            f"expected {DESCRIPTION} of {folder} to name one of {', '.join(FORMATS)}, got {kind!r}: name another folder"
        )
        raise StoreError(msg)
    return sink_class(kind).open(folder)


def write_samples(
    format: str,  # noqa: A002 as above
    samples: Iterable[Sample],
    folder: str | os.PathLike[str] | Folder,
    *,
    provenance: Provenance,
    shard_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write the samples of one range, in the order of their indices, into an empty or new folder.

    shard_size: samples a part, what suits the format unless told. progress: called with 1 after each.
    Raises StoreError if a sample does not belong to the range or if writing fails; whole parts stay.
    """
    encode = encoder(format)
    stream = provenance.checked(Encoded.of(sample, encode) for sample in samples)
    first = next(stream)
    kind = sink_class(format)
    sink = kind(open_folder(folder), provenance, shard_size=shard_size or kind.default_size(first))
    sink.begin()
    rest = itertools.chain([first], stream)
    for number in range(sink.parts):
        part = itertools.islice(rest, len(sink.indices(number)))
        sink.put(number, part if progress is None else counted(part, progress))
    sink.close()


def counted(samples: Iterable[Encoded], progress: Callable[[int], None]) -> Iterable[Encoded]:
    """The samples, each counted once the next is asked for."""
    for sample in samples:
        yield sample
        progress(1)
