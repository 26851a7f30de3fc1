"""An endless stream on a bounded disk: a ring of slots, each replaced whole by the next of the stream.

    folder/
      nanostream.json                 the ring: recipe, slots, bytes a slot
      000000.tar or 000000.zarr.zip   a WebDataset shard or a Zarr store, until the ring comes round to it again
      000000.json                     which indices it holds, and its bytes and SHA-256; written behind it

Every slot is there before the description is: it begins with the stream's first sample alone. A reader
with a fixed list of slots meets no missing and no half-written one; one that is read while it is
replaced stays open as it was. A slot takes as many samples as fit, which wait in memory until then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from nanostream.errors import StoreError
from nanostream.formats.disk import PARTIAL
from nanostream.formats.files import Files
from nanostream.formats.provenance import versions
from nanostream.formats.seal import damaged, read_json, sealed
from nanostream.formats.sink import DESCRIPTION
from nanostream.formats.slots import SLOT_KINDS, slot_kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanostream.formats.encoded import Encoded
    from nanostream.formats.folder import Folder

__all__ = ["RING_KINDS", "Window", "sidecars"]

RING_KINDS = {f"{name}-window": kind for name, kind in SLOT_KINDS.items()}
"""Slots of a ring, by what its description calls it."""

_FEWEST_SLOTS = 16
_SLOT_BYTES = 64 * 10**6
"""A slot is no larger, unless told how many there are: its samples wait in memory."""

_SIDECAR_BYTES = 4096


@final
class Window:
    """A ring that is being written, or goes on where it was.

    format: "webdataset" or "zarr". limit_bytes: what the folder takes at most, the slot that is being
    written included. slots: 16, or as many as hold 64 MB each, unless told. recipe: plain JSON values
    of what is rendered. Raises StoreError where the folder holds something else, or another ring.
    """

    def __init__(
        self,
        folder: Folder,
        *,
        limit_bytes: int,
        recipe_hash: str,
        recipe: dict[str, Any],
        seed: int,
        format: str = "webdataset",  # noqa: A002 the word that the command has too
        slots: int | None = None,
    ) -> None:
        self._folder = folder
        self._kind = slot_kind(format)
        self._slots = slots or max(_FEWEST_SLOTS, -(-limit_bytes // _SLOT_BYTES))
        self._slot_bytes = limit_bytes // (self._slots + 1) - 2 * _SIDECAR_BYTES
        self._fixed_bytes = self._kind.fixed_bytes(recipe)
        self._recipe = recipe
        self._described = {
            "kind": f"{format}-window",
            "recipe": recipe,
            "recipe_hash": recipe_hash,
            "seed": seed,
            "slots": self._slots,
            "slot_bytes": self._slot_bytes,
        }
        self.next_index: int | None = None
        """Index behind the last sample in the ring, None while it is empty."""

        self._next_slot = 0
        self._waiting: list[Encoded] = []
        self._nbytes = 0
        self._begun = folder.size(DESCRIPTION) is not None
        if self._begun:
            self._go_on()
        elif set(folder.sizes()) - self._own_names():
            msg = f"expected a new folder or a ring of nanostream's, but {folder} holds other things: choose another"
            raise StoreError(msg)

    def add(self, sample: Encoded) -> None:
        """Take the next sample of the stream; those before it are written as a slot where it no longer fits."""
        own, room = self._kind.nbytes(sample), self._slot_bytes - self._fixed_bytes
        if own > room:
            msg = (
                f"expected slots of at least {own + self._fixed_bytes} bytes for sample {sample.index}, got "
                f"{self._slot_bytes}: choose a larger window or fewer slots"
            )
            raise StoreError(msg)
        if not self._begun:
            self._begin(sample)
        if self._nbytes + own > room:
            self.end()
        self._waiting.append(sample)
        self._nbytes += own

    def end(self) -> None:
        """Write the samples that wait; nothing where none do."""
        if not self._waiting:
            return
        stop, following = self._waiting[-1].index + 1, (self._next_slot + 1) % self._slots
        self._put(self._next_slot, self._waiting)
        # One assignment: an interrupt comes before it, and the slot is written again, or behind it.
        self.next_index, self._next_slot, self._waiting, self._nbytes = stop, following, [], 0

    def _begin(self, first: Encoded) -> None:
        for slot in range(self._slots):
            self._put(slot, [first], seed=True)
        self._folder.put(DESCRIPTION, sealed({**self._described, "versions": versions()}))
        self._folder.flush()
        self._begun = True

    def _go_on(self) -> None:
        described = read_json(self._folder, DESCRIPTION)
        differing = sorted(key for key, value in self._described.items() if described.get(key) != value)
        if differing:
            msg = (
                f"expected to go on with the ring in {self._folder}, but its {differing[0]} differs "
                f"({described.get(differing[0])!r}): choose another folder"
            )
            raise StoreError(msg)
        found = sidecars(self._folder, self._slots)
        written = [(one["stop"], slot) for slot, one in enumerate(found) if not one["seed_only"]]
        if written:
            self.next_index, latest = max(written)
            self._next_slot = (latest + 1) % self._slots
        else:
            self.next_index = found[0]["start"]

    def _put(self, slot: int, samples: Sequence[Encoded], *, seed: bool = False) -> None:
        files, name = Files(self._folder), f"{slot:06d}{self._kind.ending}"
        with files.open(name) as write:
            self._kind.write(samples, self._recipe, write)
        start, stop = samples[0].index, samples[-1].index + 1
        held = {"start": start, "stop": stop, "seed_only": seed, "build": samples[0].build}
        self._folder.put(_sidecar(slot), sealed({**held, "shard": name, **files.written[name]}))
        self._folder.flush()

    def _own_names(self) -> set[str]:
        """Names of a ring's files, finished or not, before its description is there."""
        names = {f"{slot:06d}{ending}" for slot in range(self._slots) for ending in (self._kind.ending, ".json")}
        return {DESCRIPTION + PARTIAL} | names | {name + PARTIAL for name in names}


def sidecars(folder: Folder, slots: int) -> list[dict[str, Any]]:
    """What each slot's sidecar says. Raises StoreError where one is missing or damaged."""
    found = []
    for slot in range(slots):
        one = read_json(folder, _sidecar(slot))
        kinds = {"start": int, "stop": int, "seed_only": bool, "shard": str, "bytes": int, "sha256": str}
        if any(type(one.get(key)) is not kind for key, kind in kinds.items()):
            damaged(f"{_sidecar(slot)} of {folder}", f"{', '.join(kinds)} of a slot", sorted(one))
        found.append(one)
    return found


def _sidecar(slot: int) -> str:
    return f"{slot:06d}.json"
