"""The most recent samples of a stream, from which training crops are drawn.

Rendering a sample and one training step on a crop of it take about as long as each other on a CPU,
so each sample is drawn as several crops, and a slow renderer does not starve the training. How many
is fixed, not left to the clock: the same stream and seed give the same crops, and a training that
is ahead of its renderer waits, which leaves the cores to the renderer.

Legend: B = crops in a batch, H, W = picture height and width, K = edge of a crop, in pixels.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nanostream.errors import StreamError
from nanostream.segment.crops import Crops, pack, unpack
from nanostream.segment.network import LEAST_DEVIATION

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Augmentation", "CropWindow"]


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
    """The last samples of a stream, packed, and batches of crops of them.

    One sample of 256x256 takes 320 kB. Samples are taken from the stream as crops are drawn: one
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
        self.behind: dict[str, Any] = {}
        """What the last batch taken says of the stream's place behind it; see `StreamingDataset.state_dict`."""
        self._stream = stream
        self._size = size
        self._start = min(start, size)
        self._crops_per_sample = crops_per_sample
        self._contour_px = contour_px
        self._augmentation = augmentation
        self._rng = rng
        self._crops = 0
        self._held: dict[str, torch.Tensor] = {}
        self._counts = torch.zeros(size, 256)

    def begin(self) -> None:
        """Wait for the samples to start with; what this takes is not counted as waiting."""
        while self.samples < self._start:
            self._take()
        self.wait_seconds = 0.0

    def draw(self, *, count: int, crop_px: int) -> Crops:
        """So many crops.

        Raises StreamError if the stream ends or if its pictures are smaller than a crop.
        """
        self._crops += count
        while self.samples < self._start + self._crops / self._crops_per_sample:
            self._take()
        shape = tuple(self._held["images"].shape[1:])
        if min(shape) < crop_px:
            msg = f"expected pictures of at least {crop_px} pixels, got {shape}: make crops smaller"
            raise StreamError(msg)
        held, a = min(self.samples, self._size), self._augmentation
        crops = []
        for _ in range(count):
            i, turns, mirror = (int(self._rng.integers(n)) for n in (held, 4, 2))
            row, column = (int(self._rng.integers(n - crop_px + 1)) for n in shape)
            table = _grading(self._counts[i], *(float(v) for v in self._rng.normal(0, (a.gamma, a.gain, a.offset))))
            crop = unpack(self._held, i, row=row, column=column, crop_px=crop_px, table=table)
            crops.append(crop.turned(turns, mirror=bool(mirror)))
        return Crops.stack(crops)

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """The samples held, and plain JSON values of all else that `restore` needs."""
        held = min(self.samples, self._size)
        random = json.loads(json.dumps(self._rng.bit_generator.state, default=lambda array: array.tolist()))
        return (
            {name: part[:held] for name, part in self._held.items()},
            {"samples": self.samples, "crops": self._crops, "random": random},
        )

    def restore(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        """Go on as a window went on whose `state` this is; the stream must be behind its last sample."""
        self._keep(tensors, torch.arange(len(tensors["images"])))
        self.samples, self._crops = values["samples"], values["crops"]
        self._rng.bit_generator.state = _arrays(values["random"])

    def _take(self) -> None:
        """Put the stream's next batch over the oldest samples."""
        before = time.perf_counter()
        try:
            batch = next(self._stream)
        except StopIteration:
            msg = f"expected a stream without end, got {self.samples} samples and no more: leave out length="
            raise StreamError(msg) from None
        self.wait_seconds += time.perf_counter() - before
        self.behind = {"next_index": batch["next_index"]} if "next_index" in batch else {}
        packed = pack(batch, contour_px=self._contour_px)
        count = len(packed["images"])
        self._keep(packed, (torch.arange(count) + self.samples) % self._size)
        self.samples += count

    def _keep(self, packed: dict[str, torch.Tensor], place: torch.Tensor) -> None:
        for name, part in packed.items():
            if name not in self._held:
                self._held[name] = part.new_empty((self._size, *part.shape[1:]))
            self._held[name][place] = part
        self._counts[place] = _histograms(packed["images"])


def _histograms(images: torch.Tensor) -> torch.Tensor:
    """Pixels of each grey value, (N, 256) float32, of pictures (N, H, W) uint8."""
    return torch.stack([torch.bincount(image.flatten(), minlength=256) for image in images]).float()


def _arrays(value: Any) -> Any:
    """A generator's state out of JSON: its lists are arrays of 64-bit words."""
    if isinstance(value, dict):
        return {name: _arrays(item) for name, item in value.items()}
    return np.array(value, dtype=np.uint64) if isinstance(value, list) else value


def _grading(counts: torch.Tensor, gamma: float, gain: float, offset: float) -> torch.Tensor:
    """What each of the 256 grey values becomes: raised to exp(gamma), standardised, and moved.

    counts: (256,) pixels of each grey value in the whole picture, whose mean and deviation are those
    that prediction will take.
    """
    table = torch.linspace(0, 1, 256) ** math.exp(gamma)
    share = counts / counts.sum()
    mean = (share * table).sum()
    deviation = (share * (table - mean).square()).sum().sqrt()
    return (table - mean) / (deviation + LEAST_DEVIATION) * math.exp(gain) + offset
