"""Samples for the tests of what is stored, and what a folder holds."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from nanostream.formats.folder import open_folder
from nanostream.formats.provenance import Provenance
from nanostream.sample import PARTICLE_COLUMNS, Sample
from nanostream.seeding import Purpose, generator

if TYPE_CHECKING:
    import os

START, COUNT, SHARD = 5, 23, 8


def sample(index: int, *, shape: tuple[int, int] = (24, 32)) -> Sample:
    """Noise, labels up to 65,535, and metadata of any length, particles among them."""
    rng = generator(3, index, Purpose.SCENE)
    count = int(rng.integers(0, 4))
    particles: dict[str, list[Any]] = {name: rng.normal(size=count).tolist() for name in PARTICLE_COLUMNS}
    particles |= {"label": list(range(1, count + 1)), "visible_px": [7] * count, "cut": [True] * count}
    origin = {"recipe": "r", "build": "b", "backend": "fake", "seed": 3, "index": index}
    return Sample(
        seed=3,
        index=index,
        image=rng.integers(0, 256, shape, dtype=np.uint8),
        mask=rng.choice(np.array([0, 1, 300, 40_000, 65_535], np.uint16), shape),
        meta={**origin, "particles": particles, "note": "é" * (index % 3)},
    )


def samples() -> list[Sample]:
    """The samples of a small set."""
    return [sample(index) for index in range(START, START + COUNT)]


def provenance(**changes: Any) -> Provenance:
    """Where `samples` come from."""
    origin: dict[str, Any] = {"recipe": {"name": "x"}, "recipe_hash": "r", "build_hash": "b", "backend": "fake"}
    return Provenance(**{**origin, "seed": 3, "start": START, "count": COUNT, **changes})


def contents(folder: str | os.PathLike[str]) -> dict[str, str]:
    """SHA-256 of every file in a folder, here or elsewhere, by name."""
    place = open_folder(folder)
    return {name: hashlib.sha256(place.read(name)).hexdigest() for name in sorted(place.sizes())}
