"""An endless stream on a bounded disk: a ring of shards, each replaced whole by the next of the stream.

    folder/
      nanostream.json    the ring: recipe, slots, bytes a slot
      000000.tar         a WebDataset shard, until the ring comes round to it again
      000000.json        which indices it holds, and its bytes and SHA-256; written behind it

Every slot is there before the description is: it begins with the stream's first sample alone. A reader
with a fixed list of slots meets no missing and no half-written one; one that is read while it is
replaced stays open as it was. A slot takes as many samples as fit.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, final

from nanostream.errors import StoreError
from nanostream.formats.disk import PARTIAL
from nanostream.formats.provenance import versions
from nanostream.formats.sink import DESCRIPTION, Files, read_json, sealed
from nanostream.formats.webdataset import write_tar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nanostream.formats.encoded import Encoded
    from nanostream.formats.folder import Folder

__all__ = ["SLOTS", "Window"]

SLOTS = 16
"""Slots of a ring, unless told."""

_KIND = "webdataset-window"
_BLOCK = 512
_SIDECAR_BYTES = 4096
_END_BYTES = 10_240 + 2 * _BLOCK


@final
class Window:
    """A ring that is being written, or goes on where it was.

    limit_bytes: what the folder takes at most, the slot that is being written included.
    recipe: hash and plain JSON values of what is rendered. Raises StoreError where the folder holds
    something else, or another ring.
    """

    def __init__(
        self,
        folder: Folder,
        *,
        limit_bytes: int,
        recipe_hash: str,
        recipe: dict[str, Any],
        seed: int,
        slots: int = SLOTS,
    ) -> None:
        self._folder = folder
        self._slots = slots
        self._slot_bytes = limit_bytes // (slots + 1) - 2 * _SIDECAR_BYTES
        self._described = {
            "kind": _KIND,
            "recipe": recipe,
            "recipe_hash": recipe_hash,
            "seed": seed,
            "slots": slots,
            "slot_bytes": self._slot_bytes,
        }
        self.next_index: int | None = None
        self._next_slot = 0
        if folder.size(DESCRIPTION) is not None:
            self._go_on()
        elif folder.sizes().keys() - {
            DESCRIPTION + PARTIAL,
            *(name for slot in range(slots) for name in (_tar(slot), _sidecar(slot))),
        }:
            msg = f"expected a new folder or a ring of nanostream's, but {folder} holds other things: choose another"
            raise StoreError(msg)

    def write(self, samples: Iterator[Encoded], *, progress: Callable[[int], None] | None = None) -> None:
        """Write the samples, which follow each other by index, slot by slot until they end."""
        first = next(samples, None)
        if first is None:
            return
        if self.next_index is None:
            self._begin(first)
        waiting: list[Encoded] = []
        nbytes = 0
        for sample in itertools.chain([first], samples):
            own = _tar_bytes(sample)
            if waiting and nbytes + own > self._slot_bytes - _END_BYTES:
                self._put(self._next_slot, waiting, progress)
                waiting, nbytes = [], 0
            if own > self._slot_bytes - _END_BYTES:
                msg = (
                    f"expected slots of at least {own + _END_BYTES} bytes for sample {sample.index}, got "
                    f"{self._slot_bytes}: choose a larger window or fewer slots"
                )
                raise StoreError(msg)
            waiting.append(sample)
            nbytes += own
        if waiting:
            self._put(self._next_slot, waiting, progress)

    def _begin(self, first: Encoded) -> None:
        for slot in range(self._slots):
            self._put(slot, [first], None, seed=True)
        self._folder.put(DESCRIPTION, sealed({**self._described, "versions": versions()}))
        self._folder.flush()
        self._next_slot = 0

    def _go_on(self) -> None:
        described = read_json(self._folder, DESCRIPTION)
        differing = sorted(key for key, value in self._described.items() if described.get(key) != value)
        if differing:
            msg = (
                f"expected to go on with the ring in {self._folder}, but its {differing[0]} differs "
                f"({described.get(differing[0])!r}): choose another folder"
            )
            raise StoreError(msg)
        sidecars = [read_json(self._folder, _sidecar(slot)) for slot in range(self._slots)]
        written = [(one["stop"], slot) for slot, one in enumerate(sidecars) if not one["seed_only"]]
        if written:
            self.next_index, latest = max(written)
            self._next_slot = (latest + 1) % self._slots
        else:
            self.next_index = sidecars[0]["start"]

    def _put(
        self, slot: int, samples: list[Encoded], progress: Callable[[int], None] | None, *, seed: bool = False
    ) -> None:
        files = Files(self._folder)
        with files.open(_tar(slot)) as write:
            write_tar(samples, write)
        start, stop = samples[0].index, samples[-1].index + 1
        sidecar = {"start": start, "stop": stop, "seed_only": seed, "shard": _tar(slot), **files.written[_tar(slot)]}
        self._folder.put(_sidecar(slot), sealed(sidecar))
        self._folder.flush()
        self.next_index, self._next_slot = stop, (slot + 1) % self._slots
        if progress is not None:
            progress(len(samples))


def _tar_bytes(sample: Encoded) -> int:
    return sum(_BLOCK + len(value) + -len(value) % _BLOCK for value in sample.fields.values())


def _tar(slot: int) -> str:
    return f"{slot:06d}.tar"


def _sidecar(slot: int) -> str:
    return f"{slot:06d}.json"
