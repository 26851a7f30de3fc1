"""A sample in the bytes of a sink: what a render worker hands on where a stream is written."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from nanostream.errors import StoreError
from nanostream.formats.codec import check_sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanostream.sample import Sample

__all__ = ["Encoded"]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """One sample's bytes by name, and what says whether it belongs to a set.

    shape: height and width in pixels. recipe, build, backend: as in the sample's metadata.
    """

    seed: int
    index: int
    shape: tuple[int, int]
    recipe: str
    build: str
    backend: str
    fields: dict[str, bytes]

    @classmethod
    def of(cls, sample: Sample, encode: Callable[[Sample], dict[str, bytes]]) -> Encoded:
        """A sample as `encode` writes it. Raises StoreError if it cannot be stored."""
        check_sample(sample)
        origin = [sample.meta.get(key) for key in ("recipe", "build", "backend")]
        if not all(isinstance(value, str) for value in origin):
            msg = (
                f"expected recipe, build and backend as text in the metadata of sample {sample.index}, got "
                f"{origin}: render it with nanostream"
            )
            raise StoreError(msg)
        height, width = sample.image.shape
        recipe, build, backend = map(str, origin)
        return cls(sample.seed, sample.index, (height, width), recipe, build, backend, encode(sample))

    @property
    def nbytes(self) -> int:
        """Bytes of all fields."""
        return sum(map(len, self.fields.values()))
