"""Fakes of the renderer, and assertions for users' own tests.

An engine builds its renderer from an import path or a picklable callable, so a fake is told apart
from the real one in one argument:

    StreamingDataset(recipe, synth="nanostream.testing:FakeSynth")
    StreamingDataset(recipe, synth=functools.partial(FakeSynth, seconds=0.002), engine="ray")
"""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from nanostream.errors import RecipeError
from nanostream.sample import PARTICLE_COLUMNS, Sample
from nanostream.seeding import Purpose, generator
from nanostream.stream.actor import Failure, Reply
from nanostream.stream.worker import Lost, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from nanostream.stream.engine import StreamRecipe

__all__ = ["FakeRecipe", "FakeSynth", "SimulatedPool", "assert_each_once", "assert_in_order"]


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

    seconds: wait for each sample. jitter_seconds: and up to as long again, as seed and index say.
    height, width: picture size, from the recipe where None. broken: indices that raise ValueError.
    fatal: indices that kill the process that renders them. leak_bytes: kept for ever with each sample.
    """

    def __init__(
        self,
        recipe: StreamRecipe,
        *,
        seconds: float = 0.0,
        jitter_seconds: float = 0.0,
        height: int | None = None,
        width: int | None = None,
        backend: str = "fake",
        broken: Collection[int] = (),
        fatal: Collection[int] = (),
        leak_bytes: int = 0,
    ) -> None:
        picture: Any = getattr(recipe, "picture", recipe)
        self._shape = (height or picture.height, width or picture.width)
        self._recipe = recipe
        self._seconds = seconds
        self._jitter_seconds = jitter_seconds
        self._broken = frozenset(broken)
        self._fatal = frozenset(fatal)
        self._leak_bytes = leak_bytes
        self._leaked: list[bytes] = []
        self.backend = backend

    def render(self, *, seed: int, index: int) -> Sample:
        """The sample of one index: two bright bars on noise."""
        rng = generator(seed, index, Purpose.SCENE)
        if self._seconds or self._jitter_seconds:
            delay = generator(seed, index, Purpose.TRAINING).random() * self._jitter_seconds
            time.sleep(self._seconds + delay)
        if index in self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        if index in self._broken:
            msg = "this index is broken on purpose"
            raise ValueError(msg)
        if self._leak_bytes:
            self._leaked.append(b"1" * self._leak_bytes)
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


class SimulatedPool:
    """Render workers that only wait, on a clock that jumps: what a `Flight` needs of a pool, without Ray.

    render: makes a sample of seed and index. seconds: that a worker takes for each.
    restart_seconds: until a killed worker is ready again. `now` is the time in seconds.
    """

    consumers = 1

    def __init__(
        self,
        workers: int,
        *,
        render: Callable[[int, int], Sample],
        seconds: float = 0.002,
        restart_seconds: float = 1.0,
    ) -> None:
        self.now = 0.0
        self.workers = [Worker(str(number), number, ready=True) for number in range(workers)]
        self._render = render
        self._seconds = seconds
        self._restart_seconds = restart_seconds
        self._free_at = [0.0] * workers
        self._frozen: set[int] = set()
        self._due: list[tuple[float, int, int, int, range]] = []
        self._references = 0

    def clock(self) -> float:
        """The time in seconds."""
        return self.now

    def freeze(self, number: int) -> None:
        """Let a worker answer no more, until `thaw`."""
        self._frozen.add(number)

    def thaw(self, number: int) -> None:
        """Let a worker answer again."""
        self._frozen.discard(number)

    def kill(self, number: int) -> None:
        """Lose a worker and all that it was asked; it comes back."""
        self._due = [(-1.0 if due[2] == number else due[0], *due[1:]) for due in self._due]
        heapq.heapify(self._due)
        self.thaw(number)

    def ask(self, worker: Worker, flight: str, seed: int, lease: range) -> int:
        """Ask a worker for a lease."""
        del flight
        worker.asked += 1
        self._references += 1
        at = max(self.now, self._free_at[worker.handle]) + self._seconds * len(lease)
        self._free_at[worker.handle] = at
        heapq.heappush(self._due, (at, self._references, worker.handle, seed, lease))
        return self._references

    def poll(self, asked: Collection[int], timeout: float) -> tuple[list[tuple[int, Reply | Failure | Lost]], bool]:
        """Replies that are due; jumps to the first one, at most `timeout` s ahead."""
        for worker in self.workers:
            worker.ready = worker.ready or worker.retry_at <= self.now
        replies = self._replies(asked)
        if not replies and timeout > 0:
            ahead = [due[0] for due in self._due if due[2] not in self._frozen]
            self.now = min([self.now + timeout, *ahead])
            replies = self._replies(asked)
        return replies, bool(replies)

    def heard(self, worker: Worker, reply: Reply) -> None:
        """A worker that replies is no longer suspect."""
        del reply
        worker.suspect = False

    def suspect(self, worker: Worker) -> None:
        """A worker that is silent is asked for nothing more."""
        worker.suspect = True

    def lost(self, worker: Worker) -> None:
        """A worker that has gone comes back after `restart_seconds`."""
        worker.down()
        worker.retry_at = self.now + self._restart_seconds

    def forget(self, flight: str) -> None:
        """Nobody waits any more."""
        del flight
        self._due.clear()

    def _replies(self, asked: Collection[int]) -> list[tuple[int, Reply | Failure | Lost]]:
        replies: list[tuple[int, Reply | Failure | Lost]] = []
        kept = []
        while self._due and self._due[0][0] <= self.now:
            due = heapq.heappop(self._due)
            at, reference, number, seed, lease = due
            if at < 0:
                replies.append((reference, Lost("killed on purpose")))
            elif number in self._frozen:
                kept.append(due)
            else:
                replies.append((reference, self._reply(seed, lease)))
        for due in kept:
            heapq.heappush(self._due, due)
        return [reply for reply in replies if reply[0] in asked]

    def _reply(self, seed: int, lease: range) -> Reply:
        samples: list[Sample] = []
        for index in lease:
            try:
                samples.append(self._render(seed, index))
            except ValueError as error:
                return Reply(samples, self._seconds * (1 + len(samples)), Failure.of(error))
        return Reply(samples, self._seconds * len(samples))


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
