"""What one disturbance left of a stream, and many of them as a table."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from nanostream.testing import FakeRecipe, FakeSynth

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RECIPE = FakeRecipe(height=64, width=64)
SECONDS = 0.004
CLEAN_SECONDS = 90.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """What one disturbance left of the stream."""

    name: str
    samples: int
    same: bool
    missing: int
    twice: int
    gap_seconds: float
    peak_bytes: int
    end_seconds: float

    @property
    def whole(self) -> bool:
        """Whether nothing was lost, repeated or changed."""
        return self.same and not self.missing and not self.twice


class Consumed:
    """Hash over the samples in the order of consumption, and which they were."""

    def __init__(self) -> None:
        self.sha = hashlib.sha256()
        self.indices: list[int] = []
        self.gap_seconds = 0.0

    def add(self, index: int, image: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> None:
        """One sample: image uint8 (H, W), mask uint16 (H, W)."""
        self.indices.append(index)
        self.sha.update(index.to_bytes(8, "little") + image.tobytes() + mask.astype(np.uint16).tobytes())

    def batch(self, batch: dict[str, Any]) -> None:
        """All samples of a batch."""
        images = (batch["image"][:, 0] * 255).round().byte().numpy()
        for index, image, mask in zip(batch["index"].tolist(), images, batch["mask"].numpy(), strict=True):
            self.add(index, image, mask)

    def timed(self, source: Iterable[Any]) -> Iterator[Any]:
        """The same, with the longest wait noted."""
        items = iter(source)
        while True:
            began = time.perf_counter()
            item = next(items, None)
            if item is None:
                return
            self.gap_seconds = max(self.gap_seconds, time.perf_counter() - began)
            yield item

    def row(self, name: str, *, recipe: FakeRecipe, seed: int, peak_bytes: int, end_seconds: float) -> Row:
        """Compared with a renderer that nobody disturbs."""
        want, synth = Consumed(), FakeSynth(recipe)
        for index in range(len(set(self.indices))):
            sample = synth.render(seed=seed, index=index)
            want.add(index, sample.image, sample.mask)
        missing = len(set(range(max(self.indices) + 1)) - set(self.indices))
        return Row(
            name=name,
            samples=len(self.indices),
            same=want.sha.digest() == self.sha.digest(),
            missing=missing,
            twice=len(self.indices) - len(set(self.indices)),
            gap_seconds=self.gap_seconds,
            peak_bytes=peak_bytes,
            end_seconds=end_seconds,
        )


def table(rows: Iterable[Row]) -> str:
    """The rows as a table in Markdown."""
    lines = [
        "| disturbance | samples | same | missing | twice | longest gap | peak in flight | end |",
        "|---|--:|---|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {row.name} | {row.samples} | {'yes' if row.same else 'NO'} | {row.missing} | {row.twice} "
        f"| {_figure(row.gap_seconds, 's')} | {_figure(row.peak_bytes / 1e6, 'MB')} | {_figure(row.end_seconds, 's')} |"
        for row in rows
    ]
    return "\n".join(lines)


def _figure(value: float, unit: str) -> str:
    return f"{value:.2f} {unit}" if value else "not measured"


def worst(rows: Iterable[Row]) -> list[Row]:
    """For each disturbance the sum of the counts and the worst of the rest."""
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row.name, []).append(row)
    return [
        Row(
            name=name,
            samples=sum(row.samples for row in some),
            same=all(row.same for row in some),
            missing=sum(row.missing for row in some),
            twice=sum(row.twice for row in some),
            gap_seconds=max(row.gap_seconds for row in some),
            peak_bytes=max(row.peak_bytes for row in some),
            end_seconds=max(row.end_seconds for row in some),
        )
        for name, some in by_name.items()
    ]
