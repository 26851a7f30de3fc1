"""Samples as tensors: the one place where pixels become what a training loop gets.

Legend: B = samples in a batch, H, W = picture height and width in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nanostream.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanostream.sample import Sample

__all__ = ["collate", "sample_tensors"]


def collate(samples: Sequence[Sample], *, particles: bool = False) -> dict[str, Any]:
    """Batch of samples, in the order given; the tensors share no memory with the samples.

    Returns `image` (B, 1, H, W) float32 in [0, 1], `mask` (B, H, W) int32, 0 background and
    1..n particles, and `index` (B,) int64. With `particles`, also `particles`: a list of B dicts,
    each of the columns of `meta["particles"]`.
    Raises StreamError if there is no sample or if the pictures differ in size.
    """
    if not samples:
        msg = "expected at least one sample to make a batch of, got none: ask for a larger batch"
        raise StreamError(msg)
    sizes = {sample.image.shape for sample in samples}
    if len(sizes) > 1:
        msg = (
            f"expected pictures of one size in a batch, got {sorted(sizes)}: "
            "take them from one recipe, or crop them with batch_size=None and a transform"
        )
        raise StreamError(msg)
    images = np.stack([sample.image for sample in samples])
    # torch has few operations on uint16, so labels widen before they cross over.
    masks = np.stack([sample.mask for sample in samples]).astype(np.int32)
    batch: dict[str, Any] = {
        "image": _unit_interval(images).unsqueeze(1),
        "mask": torch.from_numpy(masks),
        "index": torch.tensor([sample.index for sample in samples], dtype=torch.int64),
    }
    if particles:
        batch["particles"] = [sample.meta["particles"] for sample in samples]
    return batch


def sample_tensors(sample: Sample, *, particles: bool = False) -> dict[str, Any]:
    """One sample for a DataLoader that batches; the tensors share no memory with the sample.

    Returns `image` (1, H, W) float32 in [0, 1], `mask` (H, W) int32 and `index` () int64: a row of
    `collate`. With `particles`, also `particles`, the columns of `meta["particles"]`.
    """
    tensors: dict[str, Any] = {
        "image": _unit_interval(sample.image).unsqueeze(0),
        "mask": torch.from_numpy(sample.mask.astype(np.int32)),
        "index": torch.tensor(sample.index, dtype=torch.int64),
    }
    if particles:
        tensors["particles"] = sample.meta["particles"]
    return tensors


def _unit_interval(image: np.ndarray[Any, np.dtype[np.uint8]]) -> torch.Tensor:
    """(..., H, W) uint8 as float32 in [0, 1]."""
    # One conversion in numpy also copies, which arrays from a read-only store need.
    return torch.from_numpy(image.astype(np.float32)).div_(255.0)
