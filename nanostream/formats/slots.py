"""What a slot of a ring can be: a tar of WebDataset, or a Zarr store in a zip. Each is one file."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, Final, final

from nanostream.errors import StoreError
from nanostream.formats.provenance import Provenance
from nanostream.formats.webdataset import tar_bytes, write_tar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nanostream.formats.encoded import Encoded

__all__ = ["SLOT_KINDS", "SlotKind", "slot_kind"]

_METADATA_BYTES = 2**16


class SlotKind(abc.ABC):
    """How some samples become one file."""

    ending: str
    """What its name ends with."""

    @abc.abstractmethod
    def nbytes(self, sample: Encoded) -> int:
        """Bytes that a sample takes at most."""

    @abc.abstractmethod
    def fixed_bytes(self, recipe: dict[str, Any]) -> int:
        """Bytes that a slot takes at most beside its samples."""

    @abc.abstractmethod
    def write(self, samples: Sequence[Encoded], recipe: dict[str, Any], write: Callable[[bytes], None]) -> None:
        """Write a slot. recipe: plain JSON values."""


@final
class _TarSlots(SlotKind):
    """Shards that the webdataset library reads."""

    ending = ".tar"

    def nbytes(self, sample: Encoded) -> int:
        return tar_bytes(sample)

    def fixed_bytes(self, recipe: dict[str, Any]) -> int:
        del recipe
        return 2**14

    def write(self, samples: Sequence[Encoded], recipe: dict[str, Any], write: Callable[[bytes], None]) -> None:
        del recipe
        write_tar(samples, write)


@final
class _ZipSlots(SlotKind):
    """Whole Zarr stores, whose array `index` says which samples they hold."""

    ending = ".zarr.zip"

    def nbytes(self, sample: Encoded) -> int:
        # Places in the indices of two shards, and in the offsets; the tables are compressed, so no larger.
        return sample.nbytes + 128

    def fixed_bytes(self, recipe: dict[str, Any]) -> int:
        # The recipe stands in the description and in the attributes.
        from nanostream.formats.codec import dump_json

        return _METADATA_BYTES + 2 * len(dump_json(recipe))

    def write(self, samples: Sequence[Encoded], recipe: dict[str, Any], write: Callable[[bytes], None]) -> None:
        from nanostream.formats.memory import MemoryFolder
        from nanostream.formats.zarr import ZarrSink

        first = samples[0]
        provenance = Provenance(
            recipe=recipe,
            recipe_hash=first.recipe,
            build_hash=first.build,
            backend=first.backend,
            seed=first.seed,
            start=first.index,
            count=len(samples),
        )
        folder = MemoryFolder()
        sink = ZarrSink(folder, provenance, shard_size=len(samples))
        sink.begin()
        sink.put(0, samples)
        sink.close()
        write(folder.zipped())


SLOT_KINDS: Final[dict[str, SlotKind]] = {"webdataset": _TarSlots(), "zarr": _ZipSlots()}
"""Kinds of slots, by the format of their samples."""


def slot_kind(format: str) -> SlotKind:  # noqa: A002 the word that the command has too
    """Slots of a format. Raises StoreError where a ring cannot hold it."""
    if format not in SLOT_KINDS:
        msg = f"expected a window of {' or '.join(SLOT_KINDS)}, got {format!r}: choose one of them"
        raise StoreError(msg)
    return SLOT_KINDS[format]
