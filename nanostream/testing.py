"""Fakes of the renderer, and assertions for users' own tests.

An engine builds its renderer from an import path or a picklable callable, so a fake is told apart
from the real one in one argument:

    StreamingDataset(recipe, synth="nanostream.testing:FakeSynth")
    StreamingDataset(recipe, synth=functools.partial(FakeSynth, seconds=0.002), engine="ray")
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from nanostream.errors import RecipeError
from nanostream.sample import PARTICLE_COLUMNS, Sample
from nanostream.seeding import Purpose, generator

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from nanostream.stream.engine import StreamRecipe

__all__ = ["FakeRecipe", "FakeSynth", "assert_each_once", "assert_in_order"]


@dataclasses.dataclass(frozen=True)
class FakeRecipe:
    """A recipe without a scene, for tests of streams alone."""

    name: str = "fake"
    height: int = 8
    width: int = 8

    @property
    def hash(self) -> str:
        """Hash of all fields."""
        return hashlib.sha256(self.dump().encode()).hexdigest()

    def build_hash(self, backend: str) -> str:
        """Hash of the backend's name."""
        return hashlib.sha256(f"fake build {backend}".encode()).hexdigest()

    def dump(self) -> str:
        """The recipe as JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def parse(cls, text: str) -> FakeRecipe:
        """The recipe of `dump()`'s text."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            msg = f"expected the JSON of a FakeRecipe, got {text[:80]!r} ({error})"
            raise RecipeError(msg) from error


class FakeSynth:
    """Cheap samples with the interface of `nanostream.synth.Synth`: pure functions of seed and index.

    seconds: wait for each sample. height, width: picture size, from the recipe where None.
    broken: indices that raise ValueError. fatal: indices that kill the process that renders them.
    """

    def __init__(
        self,
        recipe: StreamRecipe,
        *,
        seconds: float = 0.0,
        height: int | None = None,
        width: int | None = None,
        backend: str = "fake",
        broken: Collection[int] = (),
        fatal: Collection[int] = (),
    ) -> None:
        picture: Any = getattr(recipe, "picture", recipe)
        self._shape = (height or picture.height, width or picture.width)
        self._recipe = recipe
        self._seconds = seconds
        self._broken = frozenset(broken)
        self._fatal = frozenset(fatal)
        self.backend = backend

    def render(self, *, seed: int, index: int) -> Sample:
        """The sample of one index: two bright bars on noise."""
        rng = generator(seed, index, Purpose.SCENE)
        if self._seconds:
            time.sleep(self._seconds)
        if index in self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        if index in self._broken:
            msg = "this index is broken on purpose"
            raise ValueError(msg)
        height, width = self._shape
        rows = np.sort(rng.integers(0, height, size=2))
        # Drawing every pixel of a large picture would take longer than the wait that it stands for.
        image = np.broadcast_to(rng.integers(0, 255, size=width, dtype=np.uint8), (height, width)).copy()
        mask = np.zeros((height, width), np.uint16)
        mask[: rows[0] + 1], mask[rows[1] :] = 1, 2
        labels = [int(label) for label in (1, 2) if (mask[[0, -1]] == label).any()]
        column = {name: [float(index)] * len(labels) for name in PARTICLE_COLUMNS}
        meta: dict[str, Any] = {
            "recipe": self._recipe.hash,
            "build": self._recipe.build_hash(self.backend),
            "backend": self.backend,
            "seed": seed,
            "index": index,
            "pixel_nm": 1.0,
            "particles": {**column, "label": labels, "cut": [True] * len(labels)},
        }
        return Sample(seed=seed, index=index, image=image, mask=mask, meta=meta)


def assert_in_order(batches: Iterable[Mapping[str, Any]], *, start: int = 0) -> int:
    """Raise AssertionError unless the batches' indices are start, start + 1, ...; return the next."""
    for number, batch in enumerate(batches):
        for got in np.asarray(batch["index"]).reshape(-1).tolist():
            if got != start:
                msg = f"expected index {start} in batch {number}, got {got}"
                raise AssertionError(msg)
            start += 1
    return start


def assert_each_once(batches: Iterable[Mapping[str, Any]], *, indices: Iterable[int]) -> None:
    """Raise AssertionError unless the batches hold exactly these indices, each once, in any order."""
    got = sorted(i for batch in batches for i in np.asarray(batch["index"]).reshape(-1).tolist())
    want = sorted(indices)
    if got != want:
        twice = sorted({i for i in got if got.count(i) > 1})
        missing, surplus = sorted(set(want) - set(got)), sorted(set(got) - set(want))
        msg = f"expected each index once, got {missing} missing, {twice} twice, {surplus} unasked"
        raise AssertionError(msg)
