"""Which index comes when: order, ranks, DataLoader workers and the place. Pure; no Ray, no torch.

Legend: t = global step, t0 = step at the place, r = rank, W = world size, B = batch size,
k = position in the batch, w of n = DataLoader worker, base = next global index at the place.

    index(t, r, k) = base + (t - t0) * W * B + r * B + k        worker w renders t0 + w, t0 + w + n, ...

A loader that takes its workers' batches in turn gives the global order back. The place behind step t
is one integer, the same on every rank, and any W, B and n may follow it.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

from nanostream.errors import SampleIndexError, StateError, StreamError
from nanostream.seeding import check_index, check_seed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Place", "Share", "Step", "count_steps", "leases", "steps"]

_STATE_VERSION = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One consumer's part of the stream: rank r of W, DataLoader worker w of n, batches of B."""

    batch_size: int = 1
    rank: int = 0
    world_size: int = 1
    worker: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        """Raise StreamError unless 0 <= rank < world_size, 0 <= worker < workers, batch_size > 0."""
        if self.batch_size < 1:
            msg = f"expected batch_size of at least 1, got {self.batch_size}"
            raise StreamError(msg)
        for name, one, many in (
            ("rank", self.rank, self.world_size),
            ("worker", self.worker, self.workers),
        ):
            if not 0 <= one < many:
                msg = f"expected {name} from 0 to below {many}, got {one}"
                raise StreamError(msg)


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A rank's batch of one global step, and the first global index behind that step."""

    indices: range
    next_index: int


def steps(share: Share, *, base: int, end: int | None = None) -> Iterator[Step]:
    """The steps of one consumer from a place on, in order.

    base: first global index. end: one behind the last index; None: endless.
    A finite stream gives every rank the same number of steps: what is left for the last step is
    divided evenly, and where that is less than one sample a rank, the step before takes it along.
    Raises StreamError where fewer samples than ranks are left.
    """
    size = share.world_size * share.batch_size
    total = _count(base, end, share)
    for t in itertools.count(share.worker, share.workers):
        first = base + t * size
        if end is None or total is None or t < total - 1:
            start = first + share.rank * share.batch_size
            yield Step(range(start, start + share.batch_size), first + size)
        elif t == total - 1:
            left = end - first
            start, stop = (first + left * r // share.world_size for r in (share.rank, share.rank + 1))
            yield Step(range(start, stop), end)
            return
        else:
            return


def count_steps(share: Share, *, base: int, end: int) -> int:
    """Number of global steps from `base` to `end`, the same on every rank."""
    return _count(base, end, share) or 0


def _count(base: int, end: int | None, share: Share) -> int | None:
    if end is None:
        return None
    full, left = divmod(end - base, share.world_size * share.batch_size)
    if left >= share.world_size:
        return full + 1
    if left and not full:
        msg = (
            f"expected at least one sample for each of the {share.world_size} ranks, got {left} up to "
            f"the stream's end; choose a greater length, or fewer ranks"
        )
        raise StreamError(msg)
    return full


def leases(plan: Iterable[Step], *, size: int) -> Iterator[range]:
    """The steps' indices in the same order, cut into ranges of at most `size` indices.

    Batches that lie beside each other share a lease; so do single samples at an even distance.
    """
    current: list[int] = []
    for index in itertools.chain.from_iterable(step.indices for step in plan):
        gap = index - current[-1] if current else 1
        if current and (len(current) == size or (len(current) > 1 and gap != current[1] - current[0])):
            yield _as_range(current)
            current = []
        current.append(index)
    if current:
        yield _as_range(current)


def _as_range(indices: list[int]) -> range:
    gap = indices[1] - indices[0] if len(indices) > 1 else 1
    return range(indices[0], indices[-1] + 1, gap)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in a stream: a few integers and two hashes, the same on every rank.

    recipe: hash that must match. build, backend: what rendered so far, None before anything was.
    """

    recipe: str
    build: str | None
    backend: str | None
    seed: int
    next_index: int

    def state(self) -> dict[str, Any]:
        """The place as plain JSON values."""
        return {"version": _STATE_VERSION, **dataclasses.asdict(self)}

    @classmethod
    def parse(cls, state: Mapping[str, Any]) -> Place:
        """The place of a state; raise StateError where it is not one that `state()` makes."""
        names = {"version"} | {field.name for field in dataclasses.fields(cls)}
        if not hasattr(state, "keys") or set(state) != names:
            got = sorted(state) if hasattr(state, "keys") else type(state).__name__
            msg = f"expected a stream state with {sorted(names)}, got {got}; pass what state_dict() returned"
            raise StateError(msg)
        values = dict(state)
        version = values.pop("version")
        if version != _STATE_VERSION:
            msg = f"expected a stream state of version {_STATE_VERSION}, got {version!r}; use the release that wrote it"
            raise StateError(msg)
        try:
            check_seed(values["seed"])
            check_index(values["next_index"])
        except SampleIndexError as error:
            msg = f"{error} in the stream state; pass what state_dict() returned"
            raise StateError(msg) from None
        optional = (values["build"], values["backend"])
        if not isinstance(values["recipe"], str) or not all(v is None or isinstance(v, str) for v in optional):
            msg = f"expected hashes as text in the stream state, got {values!r}; pass what state_dict() returned"
            raise StateError(msg)
        return cls(**values)

    def check_stream(self, *, recipe: str, seed: int, end: int | None) -> None:
        """Raise StateError unless the place lies in the stream of this recipe, seed and end."""
        for name, mine, other in (("recipe", recipe, self.recipe), ("seed", seed, self.seed)):
            if mine != other:
                msg = f"expected a state of {name} {mine}, got one of {name} {other}; open the stream with that {name}"
                raise StateError(msg)
        if end is not None and self.next_index > end:
            msg = f"expected a place up to the stream's length {end}, got {self.next_index}; open it with that length"
            raise StateError(msg)
