"""The most recent samples of a stream, from which training crops are drawn.

Rendering a sample and one training step on a crop of it take about as long as each other on a CPU,
so each sample is drawn as several crops, and a slow renderer does not starve the training. How many
is fixed, not left to the clock: the same stream and seed give the same crops, and a training that
is ahead of its renderer waits, which leaves the cores to the renderer.

Legend: B = crops in a batch, H, W = picture height and width, K = edge of a crop, in pixels.
"""

from __future__ import annotations

import dataclasses
import math
import time
from typing import TYPE_CHECKING, Any

import torch

from nanostream.errors import StreamError
from nanostream.segment.targets import contour_classes, seams

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

__all__ = ["SEAM", "Augmentation", "CropWindow"]

SEAM = 3
"""Code of contour pixels beside another particle; class CONTOUR with a weight of its own."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """What crops vary beyond what the stream does."""

    gain: float = 0.2
    """Standardised grey values are multiplied by exp(N(0, gain))."""
    offset: float = 0.2
    """and shifted by N(0, offset): a crop's picture may hold more background than it did."""
    gamma: float = 0.2
    """Grey values in [0, 1] are raised to exp(N(0, gamma))."""


class CropWindow:
    """The last samples of a stream, as 8-bit pictures and classes, and batches of crops of them.

    One sample of 256x256 takes 128 kB. Samples are taken from the stream as crops are drawn: one
    for every `crops_per_sample` of them, after `start` samples to begin with.
    """

    def __init__(
        self,
        stream: Iterator[dict[str, Any]],
        *,
        size: int,
        start: int,
        crops_per_sample: float,
        contour_px: int,
        augmentation: Augmentation,
        rng: np.random.Generator,
    ) -> None:
        """Nothing is taken from the stream yet."""
        self.samples = 0
        self.wait_seconds = 0.0
        self._stream = stream
        self._size = size
        self._start = min(start, size)
        self._crops_per_sample = crops_per_sample
        self._contour_px = contour_px
        self._augmentation = augmentation
        self._rng = rng
        self._crops = 0
        self._images: torch.Tensor | None = None
        self._codes: torch.Tensor | None = None
        self._counts = torch.zeros(size, 256)

    def begin(self) -> None:
        """Wait for the samples to start with; what this takes is not counted as waiting."""
        while self.samples < self._start:
            self._take()
        self.wait_seconds = 0.0

    def draw(self, *, count: int, crop_px: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Crops and their codes: (B, 1, K, K) float32, standardised, and (B, K, K) uint8.

        Codes are the classes of `targets.contour_classes`, and SEAM. Raises StreamError if the
        stream ends or if its pictures are smaller than a crop.
        """
        self._crops += count
        while self.samples < self._start + self._crops / self._crops_per_sample:
            self._take()
        images, codes = self._images, self._codes
        if images is None or codes is None or min(images.shape[1:]) < crop_px:
            got = "none" if images is None else tuple(images.shape[1:])
            msg = f"expected pictures of at least {crop_px} pixels, got {got}: make crops smaller"
            raise StreamError(msg)
        held = min(self.samples, self._size)
        x = torch.empty(count, 1, crop_px, crop_px)
        y = torch.empty(count, crop_px, crop_px, dtype=torch.uint8)
        for k in range(count):
            i, turns, mirror = (int(self._rng.integers(n)) for n in (held, 4, 2))
            row, column = (int(self._rng.integers(n - crop_px + 1)) for n in images.shape[1:])
            place = (i, slice(row, row + crop_px), slice(column, column + crop_px))
            a = self._augmentation
            table = _grading(self._counts[i], *(float(v) for v in self._rng.normal(0, (a.gamma, a.gain, a.offset))))
            x[k, 0] = _turned(table[images[place].int()], turns, mirror=mirror)
            y[k] = _turned(codes[place], turns, mirror=mirror)
        return x, y

    def _take(self) -> None:
        """Put the stream's next batch over the oldest samples."""
        before = time.perf_counter()
        try:
            batch = next(self._stream)
        except StopIteration:
            msg = f"expected a stream without end, got {self.samples} samples and no more: leave out length="
            raise StreamError(msg) from None
        self.wait_seconds += time.perf_counter() - before
        mask = batch["mask"]
        codes = contour_classes(mask, width_px=self._contour_px)
        codes[seams(mask, width_px=self._contour_px)] = SEAM
        images = (batch["image"][:, 0] * 255.0).round().to(torch.uint8)
        held_images, held_codes = self._images, self._codes
        if held_images is None or held_codes is None:
            held_images = torch.empty((self._size, *images.shape[1:]), dtype=torch.uint8)
            held_codes = torch.empty_like(held_images)
            self._images, self._codes = held_images, held_codes
        place = (torch.arange(len(images)) + self.samples) % self._size
        held_images[place] = images
        held_codes[place] = codes
        self._counts[place] = torch.stack([torch.bincount(i.flatten(), minlength=256) for i in images]).float()
        self.samples += len(images)


def _turned(values: torch.Tensor, turns: int, *, mirror: int) -> torch.Tensor:
    turned = values.rot90(turns)
    return turned.flip(1) if mirror else turned


def _grading(counts: torch.Tensor, gamma: float, gain: float, offset: float) -> torch.Tensor:
    """What each of the 256 grey values becomes: raised to exp(gamma), standardised, and moved.

    counts: (256,) pixels of each grey value in the whole picture, whose mean and deviation are those
    that prediction will take.
    """
    table = torch.linspace(0, 1, 256) ** math.exp(gamma)
    share = counts / counts.sum()
    mean = (share * table).sum()
    deviation = (share * (table - mean).square()).sum().sqrt()
    return (table - mean) / (deviation + 1e-6) * math.exp(gain) + offset
