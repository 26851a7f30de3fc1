"""Datasets over exported samples: the very batches that the live stream gives, from disk.

A row is a sample's place in the set, 0 for its first index.
"""

from __future__ import annotations

import abc
import itertools
import os
import pathlib
from typing import TYPE_CHECKING, Any, Protocol, final

import torch.distributed
import torch.utils.data

from nanostream.collate import collate, sample_tensors
from nanostream.errors import StreamError
from nanostream.stream.plan import Share, steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nanostream.formats.provenance import Provenance
    from nanostream.sample import Sample
    from nanostream.stream.plan import Step

__all__ = ["ShardDataset", "ZarrDataset"]

_NO_PLACE = -1


class _Reader(Protocol):
    """Samples at rest, by row."""

    provenance: Provenance

    def __len__(self) -> int: ...

    def samples(self, rows: Iterable[int], *, meta: bool = True) -> Iterator[Sample]: ...


class _StoredDataset(torch.utils.data.IterableDataset[dict[str, Any]], abc.ABC):
    """Batches of a reader's samples, with the keys of StreamingDataset; iterating again begins again.

    folder: what `export` wrote. batch_size: samples a batch, or None for single samples. rank and
    world_size: torch.distributed's unless told, taken where the dataset is iterated or pickled.
    particles: also give `particles`, see `collate`. transform: called on each batch, or on each
    sample with batch_size=None.

    Rows, ranks and DataLoader workers share as in a live stream of that length, see stream/plan.py:
    the last batch may be short, and every rank gets the same number of batches.
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
    ) -> None:
        if (rank is None) is not (world_size is None):
            msg = f"expected rank and world_size together or neither, got {rank} and {world_size}"
            raise StreamError(msg)
        self.folder = pathlib.Path(folder)
        self._batch_size = batch_size
        self._rank, self._world_size = rank, world_size
        self._particles = particles
        self._transform = transform
        self._opened: tuple[int, _Reader] | None = None
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
        worker = torch.utils.data.get_worker_info()
        share = self._share() if worker is None else self._share(worker.id, worker.num_workers)
        for batch in self._batches(list(steps(share, base=0, end=self._count)), alone=worker is None):
            yield batch if self._transform is None else self._transform(batch)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the open files, with the rank that holds here."""
        rank, world_size = self._place()
        return {**self.__dict__, "_opened": None, "_rank": rank, "_world_size": world_size}

    def _batches(self, plan: Sequence[Step], *, alone: bool) -> Iterator[dict[str, Any]]:
        """Batches of the steps, each with its place, as the live stream has them."""
        reader = self._reader()
        wanted = itertools.chain.from_iterable(step.indices for step in plan)
        samples = reader.samples(wanted, meta=self._particles)
        for step in plan:
            behind = reader.provenance.start + step.next_index
            some = list(itertools.islice(samples, len(step.indices)))
            if self._batch_size is None:
                places = [*(sample.index for sample in some[1:]), behind]
                for sample, place in zip(some, places, strict=True):
                    tensors = sample_tensors(sample, particles=self._particles)
                    # Several workers' samples come in the loader's order, which has no place.
                    yield {**tensors, "next_index": torch.tensor(place if alone else _NO_PLACE)}
            else:
                batch = collate(some, particles=self._particles)
                yield {**batch, "next_index": torch.full((len(some),), behind)}

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

        return ShardReader(self.folder)


@final
class ZarrDataset(_StoredDataset):
    """Batches from a Zarr store."""

    __doc__ = f"{__doc__}\n\n{_StoredDataset.__doc__}"

    def _open(self) -> _Reader:
        # Zarr is half a second of import that shards need not wait for.
        from nanostream.formats.zarr_reader import ZarrReader

        return ZarrReader(self.folder)
