"""How far a dataset has come, in memory that it shares with its DataLoader's workers.

Each worker has a row of its own, so nothing is locked. All workers of one iteration agree on where it
begins, because a row is written in one order (base, tag, furthest, generation) and read in the other.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.utils.data

from nanostream.errors import StateError, StreamError
from nanostream.stream.engine import Build

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NO_PLACE", "Board", "Turn", "iteration_tag", "place_behind"]

NO_PLACE = -1
"""In place of a place, where samples of one batch come from several DataLoader workers."""

_ROWS = 256
_GENERATION, _START, _LATEST, _HEADER = range(4)
_ROW_TAG, _ROW_BASE, _ROW_GENERATION, _ROW_FURTHEST, _FIELDS = range(5)
_TEXT_BYTES = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """One iteration of one worker: its row, what names the iteration, and where that begins."""

    row: int
    tag: int
    generation: int
    base: int


class Board:
    """The furthest batch handed out, by this process or by any worker it has handed the board to."""

    def __init__(self) -> None:
        self._tensor = torch.zeros(_HEADER + _ROWS * _FIELDS + _TEXT_BYTES // 8, dtype=torch.int64).share_memory_()
        self._view()
        self._header[_GENERATION] = 1

    def begin(self, *, worker: int, tag: int, end: int | None) -> Turn:
        """Begin an iteration; every worker that names the same tag gets the same base.

        An endless stream goes on behind the furthest batch. A finite one begins at the place that
        was set, if nothing has begun since, else at 0.
        """
        if worker >= _ROWS:
            msg = f"expected at most {_ROWS} DataLoader workers, got more; lower num_workers"
            raise StreamError(msg)
        generation, start = int(self._header[_GENERATION]), int(self._header[_START])
        current = self._rows[:, _ROW_GENERATION] == generation
        behind = max([start, *self._rows[current, _ROW_FURTHEST].tolist()])
        # Read behind the rows above: whoever has moved since has also left the tag.
        same = np.flatnonzero(self._rows[:, _ROW_TAG] == tag)
        if len(same):
            base = int(self._rows[same[0], _ROW_BASE])
        elif end is None:
            base = behind
        else:
            base = 0 if current.any() or start >= end else start
        row = self._rows[worker]
        row[_ROW_BASE] = base
        row[_ROW_TAG] = tag
        keep = end is None and row[_ROW_GENERATION] == generation
        row[_ROW_FURTHEST] = max(base, int(row[_ROW_FURTHEST])) if keep else base
        row[_ROW_GENERATION] = generation
        self._header[_LATEST] = tag
        return Turn(worker, tag, generation, base)

    def advance(self, turn: Turn, next_index: int, *, end: int | None) -> None:
        """Note that everything before `next_index` is handed out; nothing if the place was set meanwhile."""
        row = self._rows[turn.row]
        if row[_ROW_GENERATION] == turn.generation and (end is None or row[_ROW_TAG] == turn.tag):
            row[_ROW_FURTHEST] = max(next_index, int(row[_ROW_FURTHEST]))

    def place(self, *, end: int | None) -> int:
        """First index that nobody has handed out."""
        current = self._rows[:, _ROW_GENERATION] == self._header[_GENERATION]
        if end is not None:
            current &= self._rows[:, _ROW_TAG] == self._header[_LATEST]
        return max(self._rows[current, _ROW_FURTHEST].tolist(), default=int(self._header[_START]))

    def set(self, next_index: int) -> None:
        """Begin the next iteration at `next_index`; iterations under way count no more."""
        self._header[_START] = next_index
        self._header[_GENERATION] += 1

    @property
    def build(self) -> Build | None:
        """What renders, as far as anybody knows yet."""
        text = self._text.tobytes().rstrip(b"\0").decode()
        return Build(*text.split("\n", 1)) if text else None

    @build.setter
    def build(self, build: Build) -> None:
        text = f"{build.hash}\n{build.backend}".encode()[:_TEXT_BYTES].ljust(_TEXT_BYTES, b"\0")
        self._text[:] = np.frombuffer(text, np.uint8)

    def __getstate__(self) -> dict[str, Any]:
        return {"tensor": self._tensor}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # The pickler of multiprocessing keeps the memory shared; any other one makes a copy.
        tensor: torch.Tensor = state["tensor"]
        self._tensor = tensor if tensor.is_shared() else tensor.share_memory_()
        self._view()

    def _view(self) -> None:
        numbers = self._tensor.numpy()
        self._header = numbers[:_HEADER]
        self._rows = numbers[_HEADER : _HEADER + _ROWS * _FIELDS].reshape(_ROWS, _FIELDS)
        self._text = numbers[_HEADER + _ROWS * _FIELDS :].view(np.uint8)


def iteration_tag(count: int) -> int:
    """A number that names this iteration, the same in every DataLoader worker that takes part.

    count: iterations of this process. The number of a worker's process less its place among the
    workers is the same for all that one loader started together, and another for those of the next
    start; the loader's seed alone, which a user may fix, does not tell two epochs apart.
    """
    info = torch.utils.data.get_worker_info()
    if info is None:
        return hash((os.getpid(), count)) | 1
    identity: tuple[int, ...] = multiprocessing.current_process()._identity  # type: ignore[attr-defined]  # noqa: SLF001
    return hash((info.seed - info.id, identity[-1] - info.id, count)) | 1


def place_behind(batch: Mapping[str, Any]) -> int:
    """First index behind a batch; raise StateError for one that carries no place."""
    places = batch.get("next_index") if hasattr(batch, "get") else None
    if places is None:
        msg = "expected a batch of this dataset with `next_index`, got one without; let the transform keep that entry"
        raise StateError(msg)
    place = torch.as_tensor(places)
    if place.min() < 0:
        msg = (
            "expected a batch with a place, got single samples from several DataLoader workers, whose order is the "
            "loader's; set batch_size in StreamingDataset and batch_size=None in the DataLoader"
        )
        raise StateError(msg)
    return int(place.max())
