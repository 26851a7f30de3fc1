"""Datasets over exported samples: the very batches that the live stream gives, from disk.

A row is a sample's place in the set, 0 for its first index.
"""

from __future__ import annotations

import abc
import itertools
import os
import warnings
from typing import TYPE_CHECKING, Any, Protocol, final

import torch.distributed
import torch.utils.data

from nanostream.collate import collate, sample_tensors
from nanostream.errors import StateError, StreamError
from nanostream.formats.cache import CACHE_BYTES
from nanostream.formats.folder import open_folder
from nanostream.stream.board import NO_PLACE, Board, iteration_tag, place_behind
from nanostream.stream.plan import Place, Share, steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from nanostream.formats.provenance import Provenance
    from nanostream.sample import Sample
    from nanostream.stream.board import Turn

__all__ = ["ShardDataset", "ZarrDataset"]


class _Reader(Protocol):
    """Samples at rest, by row."""

    provenance: Provenance

    def __len__(self) -> int: ...

    def samples(self, rows: Iterable[int], *, meta: bool = True) -> Iterator[Sample]: ...


class _StoredDataset(torch.utils.data.IterableDataset[dict[str, Any]], abc.ABC):
    """Batches of a reader's samples, with the keys of StreamingDataset; iterating again begins again.

    folder: what `export` wrote, a path or an address that fsspec opens. batch_size: samples a batch,
    or None for single samples. rank and world_size: torch.distributed's unless told, taken where the
    dataset is iterated or pickled. particles: also give `particles`, see `collate`. transform: called
    on each batch, or on each sample with batch_size=None. cache, cache_bytes: where copies of the
    files of a remote folder are kept, and how much they may take.

    Rows, ranks and DataLoader workers share as in a live stream of that length, see stream/plan.py:
    the last batch may be short, and every rank gets the same number of batches. Places are those of
    the live stream too: a state of one can be loaded into the other.
    Raises StoreError if the folder is no whole export, StreamError for sizes that cannot be.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        batch_size: int | None = 16,
        rank: int | None = None,
        world_size: int | None = None,
        particles: bool = False,
        transform: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        cache: str | os.PathLike[str] | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        if (rank is None) is not (world_size is None):
            msg = f"expected rank and world_size together or neither, got {rank} and {world_size}"
            raise StreamError(msg)
        self.folder = str(open_folder(folder))
        self._batch_size = batch_size
        self._rank, self._world_size = rank, world_size
        self._particles = particles
        self._transform = transform
        self._cache: dict[str, Any] = {"cache": cache, "cache_bytes": cache_bytes}
        self._opened: tuple[int, _Reader] | None = None
        self._board = Board()
        self._iterations = 0
        # Sizes that cannot be are refused here, not where a loader starts.
        self._share()
        self._count = len(self._reader())

    @abc.abstractmethod
    def _open(self) -> _Reader:
        """Open the folder."""

    @property
    def provenance(self) -> Provenance:
        """Recipe, seed and range of the set."""
        return self._reader().provenance

    def __len__(self) -> int:
        """Batches that this rank gets, or samples with batch_size=None."""
        plan = steps(self._share(), base=0, end=self._count)
        return sum(1 if self._batch_size else len(step.indices) for step in plan)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield this rank's batches; in a DataLoader worker, the share of them that is its own."""
        info = torch.utils.data.get_worker_info()
        self._iterations += 1
        share = self._share() if info is None else self._share(info.id, info.num_workers)
        return self._batches(share, iteration_tag(self._iterations))

    def state_dict(self, *, after: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The place behind the batch `after`, or behind the furthest one handed out; plain JSON values.

        With DataLoader workers only `after` is exact, since they run ahead of the training loop. The
        place is the same on every rank. Raises StateError for a batch that carries no place.
        """
        told = self.provenance
        row = self._board.place(end=self._count) if after is None else place_behind(after) - told.start
        return Place(
            recipe=told.recipe_hash,
            build=told.build_hash,
            backend=told.backend,
            seed=told.seed,
            next_index=told.start + row,
        ).state()

    def load_state_dict(self, state: Mapping[str, Any], *, strict: bool = False) -> None:
        """Go to a place; any world, batch size and number of workers may follow. Holds from the next iteration.

        Raises StateError for another recipe or seed, or a place outside the set. A state of another
        build (other library versions or backend) warns, and with `strict` raises StateError.
        """
        told = self.provenance
        place = Place.parse(state)
        place.check_stream(recipe=told.recipe_hash, seed=told.seed, end=told.stop)
        if place.next_index < told.start:
            msg = (
                f"expected a place from {told.start} to {told.stop}, which {self.folder} holds, got "
                f"{place.next_index}; open the set that it belongs to"
            )
            raise StateError(msg)
        if place.build is not None and (place.build, place.backend) != (told.build_hash, told.backend):
            msg = (
                f"expected the state's build {place.build[:12]} ({place.backend}), got {told.build_hash[:12]} "
                f"({told.backend}) in {self.folder}: samples may differ in single pixels; go on with what was used"
            )
            if strict:
                raise StateError(msg)
            warnings.warn(msg, stacklevel=2)
        self._board.set(place.next_index - told.start)

    def restart(self) -> None:
        """Go back to the first sample, from the next iteration on."""
        self._board.set(0)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the open files, with the rank that holds here."""
        rank, world_size = self._place()
        return {**self.__dict__, "_opened": None, "_rank": rank, "_world_size": world_size}

    def _batches(self, share: Share, tag: int) -> Iterator[dict[str, Any]]:
        """Batches of the steps from the place on, each with its place, as the live stream has them."""
        reader = self._reader()
        start = reader.provenance.start
        turn = self._board.begin(worker=share.worker, tag=tag, end=self._count)
        plan = list(steps(share, base=turn.base, end=self._count))
        wanted = itertools.chain.from_iterable(step.indices for step in plan)
        samples = reader.samples(wanted, meta=self._particles)
        for step in plan:
            some = list(itertools.islice(samples, len(step.indices)))
            if self._batch_size is None:
                places = [*step.indices[1:], step.next_index]
                for sample, place in zip(some, places, strict=True):
                    tensors = sample_tensors(sample, particles=self._particles)
                    # Several workers' samples come in the loader's order, which has no place.
                    known = start + place if share.workers == 1 else NO_PLACE
                    yield self._handed(tensors, torch.tensor(known), turn, place)
            else:
                batch = collate(some, particles=self._particles)
                places = torch.full((len(some),), start + step.next_index)
                yield self._handed(batch, places, turn, step.next_index)

    def _handed(self, tensors: dict[str, Any], places: torch.Tensor, turn: Turn, row: int) -> dict[str, Any]:
        tensors["next_index"] = places
        tensors = tensors if self._transform is None else self._transform(tensors)
        self._board.advance(turn, row, end=self._count)
        return tensors

    def _share(self, worker: int = 0, workers: int = 1) -> Share:
        rank, world_size = self._place()
        return Share(
            batch_size=1 if self._batch_size is None else self._batch_size,
            rank=rank,
            world_size=world_size,
            worker=worker,
            workers=workers,
        )

    def _place(self) -> tuple[int, int]:
        """Rank and number of ranks."""
        if self._rank is not None and self._world_size is not None:
            return self._rank, self._world_size
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1

    def _reader(self) -> _Reader:
        # A forked DataLoader worker shares the parent's file positions, so it opens its own.
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), self._open()
        return self._opened[1]


@final
class ShardDataset(_StoredDataset):
    """Batches from a folder of WebDataset shards."""

    __doc__ = f"{__doc__}\n\n{_StoredDataset.__doc__}"

    def _open(self) -> _Reader:
        from nanostream.formats.webdataset_reader import ShardReader

        return ShardReader(self.folder, **self._cache)


@final
class ZarrDataset(_StoredDataset):
    """Batches from a Zarr store."""

    __doc__ = f"{__doc__}\n\n{_StoredDataset.__doc__}"

    def _open(self) -> _Reader:
        # Zarr is half a second of import that shards need not wait for.
        from nanostream.formats.zarr_reader import ZarrReader

        return ZarrReader(self.folder, **self._cache)
