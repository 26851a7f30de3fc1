"""Which part of the stream is this process's, as told or as torch.distributed has it."""

from __future__ import annotations

import dataclasses

import torch.distributed

from nanostream.errors import StreamError
from nanostream.stream.plan import Share

__all__ = ["Rank"]


@dataclasses.dataclass(frozen=True, slots=True)
class Rank:
    """Rank and number of ranks; None for both: torch.distributed's at the time, or the only one."""

    rank: int | None
    world_size: int | None

    def __post_init__(self) -> None:
        """Raise StreamError where only one of them is told."""
        if (self.rank is None) is not (self.world_size is None):
            msg = f"expected rank and world_size together or neither, got {self.rank} and {self.world_size}"
            raise StreamError(msg)

    def here(self) -> Rank:
        """The rank that holds in this process, now."""
        if self.rank is None and torch.distributed.is_available() and torch.distributed.is_initialized():
            return Rank(torch.distributed.get_rank(), torch.distributed.get_world_size())
        return self

    def share(self, *, batch_size: int, worker: int = 0, workers: int = 1) -> Share:
        """This rank's share of the stream, or that of one of its DataLoader workers."""
        here = self.here()
        return Share(
            batch_size=batch_size,
            rank=here.rank or 0,
            world_size=1 if here.world_size is None else here.world_size,
            worker=worker,
            workers=workers,
        )
