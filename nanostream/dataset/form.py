"""What a batch holds beside its pixels, and how it is changed before it is handed on."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch

from nanostream.collate import collate, sample_tensors
from nanostream.receipt import Receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nanostream.sample import Sample

__all__ = ["Form"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """particles, receipts: also give these. transform: called on each batch, or on each single sample."""

    particles: bool = False
    receipts: bool = False
    transform: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    def one(self, sample: Sample, *, next_index: int | None = None) -> dict[str, Any]:
        """A single sample; with the place behind it where one is given."""
        tensors = sample_tensors(sample, particles=self.particles)
        if self.receipts:
            tensors["receipt"] = str(Receipt.of(sample.meta))
        if next_index is not None:
            tensors["next_index"] = torch.tensor(next_index)
        return self._transformed(tensors)

    def batch(self, samples: Sequence[Sample], *, next_index: int) -> dict[str, Any]:
        """A batch, with the place behind it for each of its samples, so that batches can be split and joined."""
        tensors = collate(samples, particles=self.particles)
        if self.receipts:
            tensors["receipt"] = [str(Receipt.of(sample.meta)) for sample in samples]
        tensors["next_index"] = torch.full((len(samples),), next_index)
        return self._transformed(tensors)

    def _transformed(self, tensors: dict[str, Any]) -> dict[str, Any]:
        return tensors if self.transform is None else self.transform(tensors)
