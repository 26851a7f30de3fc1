"""StreamingDataset: batches of the stream, in order, from a place on.

Legend: B = samples in a batch, H, W = picture height and width in pixels.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any, Self

import torch.utils.data

from nanostream.dataset.form import Form
from nanostream.dataset.rank import Rank
from nanostream.errors import StreamError
from nanostream.seeding import check_index, check_seed
from nanostream.stream.board import NO_PLACE, Board, Turn, iteration_tag, place_behind
from nanostream.stream.engine import SYNTH, Build
from nanostream.stream.plan import Place, Share, count_steps, leases, steps
from nanostream.stream.remote import RemoteRecipe
from nanostream.stream.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nanostream.stream.engine import StreamRecipe, Synthesizer
    from nanostream.stream.scale import Workers
    from nanostream.telemetry import StreamStats

__all__ = ["StreamingDataset"]

_LEASE = 8


class StreamingDataset(torch.utils.data.IterableDataset[dict[str, Any]]):
    """Rendered batches in index order, endless unless `length` is given.

    A batch is a dict: `image` (B, 1, H, W) float32 in [0, 1]; `mask` (B, H, W) int32, 0 background
    and 1..n particles; `index` (B,) int64, the global sample index; `next_index` (B,) int64, the
    place behind the batch. With batch_size=None it is one sample without the B, for a DataLoader
    that batches; several DataLoader workers then give each index once, but only the loader's order
    and no place (`next_index` is -1).

    recipe: or the address of one that a gateway serves, such as http://host:8000/v1/tio2-sem; then `token` is
    the gateway's, by default what NANOSTREAM_TOKEN holds, and the gateway renders.
    engine: `local` renders in this process, `ray` in `workers` actors; `auto` takes `ray` where a
    cluster is named or held or more than one worker is asked for. workers=(least, most): as many as
    the training loop needs; `stream.scale.Workers(2, 8, num_gpus=0.5)` also says what each takes of Ray's CPUs and
    GPUs. address: of a Ray cluster. pool: name of workers that several datasets or
    processes on one cluster share, see `stream.ray.RayEngine`.
    length: samples in a finite stream that gives the same samples each time it is iterated.
    rank, world_size: torch.distributed's unless told, taken where the dataset is iterated or pickled.
    transform: called on each batch (on each sample with batch_size=None) where the dataset is iterated.
    particles: also give `particles`, a list of B dicts of columns, see `sample.PARTICLE_COLUMNS`.
    receipts: also give `receipt`, a list of B texts of which `nanostream replay` makes the sample again.
    lease: samples that a render worker is asked for at a time. synth: what renders, as an import
    path or a function of a module, see testing.py. timeout_seconds: StreamError where no render
    worker answers for this long.

    Iterating again goes on behind the furthest batch handed out. With DataLoader workers that is the
    furthest one a worker has prepared: what was prefetched and never used is left out, and nothing
    comes twice; `load_state_dict(state_dict(after=batch))` goes back to the one that was used last.

    With the Ray engine DataLoader workers start by spawn or forkserver and share this process's
    render workers; a forked one raises ForkError.
    """

    def __init__(
        self,
        recipe: StreamRecipe | str,
        *,
        token: str | None = None,
        seed: int = 0,
        batch_size: int | None = 16,
        engine: str = "auto",
        workers: int | tuple[int, int] | Workers = 1,
        address: str | None = None,
        pool: str | None = None,
        length: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        transform: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        particles: bool = False,
        receipts: bool = False,
        lease: int = _LEASE,
        synth: str | Callable[..., Synthesizer] = SYNTH,
        timeout_seconds: float = 300.0,
    ) -> None:
        for name, value in (("length", length), ("lease", lease)):
            if value is not None and value < 1:
                msg = f"expected {name} of at least 1, got {value}"
                raise StreamError(msg)
        if isinstance(recipe, str):
            recipe, engine = RemoteRecipe(recipe, token=token, timeout_seconds=timeout_seconds), "http"
        self._source = Source(
            recipe,
            seed=check_seed(seed),
            engine=engine,
            workers=workers,
            address=address,
            pool=pool,
            synth=synth,
            timeout_seconds=timeout_seconds,
        )
        self.batch_size = batch_size
        self.length = None if length is None else check_index(length)
        self._rank = Rank(rank, world_size)
        self._form = Form(particles=particles, receipts=receipts, transform=transform)
        self._lease = lease
        self._board = Board()
        self._iterations = 0
        # In a DataLoader worker: the base from which its next batch comes by the plan, and one that was loaded.
        self._own_place: int | None = None
        self._loaded: int | None = None
        self._share()

    @property
    def recipe(self) -> StreamRecipe:
        """What is rendered."""
        return self._source.recipe

    @property
    def seed(self) -> int:
        """Seed of the stream."""
        return self._source.seed

    @property
    def stats(self) -> StreamStats:
        """Samples rendered, samples a second, share of the time waited; of this process."""
        return self._source.stats

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Batches of this rank, and in a DataLoader worker the share of them that is its own."""
        self._source.check()
        info = torch.utils.data.get_worker_info()
        self._iterations += 1
        tag = iteration_tag(self._iterations)
        if info is None:
            return self._batches(self._share(), tag)
        share = self._share(worker=info.id, workers=info.num_workers)
        turn = self._board.begin(worker=share.worker, tag=tag, end=self.length)
        base, self._loaded = turn.base if self._loaded is None else self._loaded, None
        self._own_place = base
        return self._batches(share, tag, turn=dataclasses.replace(turn, base=base))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The sample of any index, as with batch_size=None, without `next_index`."""
        return self._form.one(self._source.engine().sample(check_index(index)))

    def __len__(self) -> int:
        """Batches of this rank in a finite stream, or samples with batch_size=None; else TypeError."""
        if self.length is None:
            msg = "expected a stream with length=N, got an endless one, which has no len()"
            raise TypeError(msg)
        if self.batch_size is None:
            return sum(len(step.indices) for step in steps(self._share(), base=0, end=self.length))
        return count_steps(self._share(), base=0, end=self.length)

    def __bool__(self) -> bool:
        return True

    def state_dict(self, *, after: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The place behind the batch `after`, or behind the furthest one handed out; plain JSON values.

        With DataLoader workers only `after` is exact, since they run ahead of the training loop. The
        place is the same on every rank. Raises StateError for a batch that carries no place.
        In a DataLoader worker it is that worker's own place, as torchdata's StatefulDataLoader asks for it.
        """
        if after is not None:
            next_index = place_behind(after)
        elif self._own_place is not None:
            next_index = self._own_place
        else:
            next_index = self._board.place(end=self.length)
        build = self._board.build
        return Place(
            recipe=self.recipe.hash,
            build=build.hash if build else None,
            backend=build.backend if build else None,
            seed=self.seed,
            next_index=next_index,
        ).state()

    def load_state_dict(self, state: Mapping[str, Any], *, strict: bool = False) -> None:
        """Go to a place; any world, batch size and number of workers may follow. Holds from the next iteration.

        Raises StateError for another recipe or seed. A state of another build (other library versions
        or backend) warns when the renderer starts, and with `strict` raises StateError then.
        """
        place = Place.parse(state)
        in_worker = torch.utils.data.get_worker_info() is not None
        place.check_stream(recipe=self.recipe.hash, seed=self.seed, end=None if in_worker else self.length)
        if place.build is not None:
            self._source.expect(Build(place.build, place.backend or "?"), strict=strict)
            if self._board.build is not None:
                self._source.compare(self._board.build)
        if in_worker:
            self._loaded = self._own_place = place.next_index
        else:
            self._board.set(place.next_index)

    def restart(self) -> None:
        """Go back to the first sample, from the next iteration on."""
        self._board.set(0)

    def close(self) -> None:
        """End the render workers, and Ray where it was started here."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Everything, with the rank that holds here."""
        return {**self.__dict__, "_rank": self._rank.here()}

    def _batches(self, share: Share, tag: int, *, turn: Turn | None = None) -> Iterator[dict[str, Any]]:
        engine = self._source.engine(share)
        self._source.compare(engine.build)
        self._board.build = engine.build
        turn = turn or self._board.begin(worker=share.worker, tag=tag, end=self.length)
        if self._own_place is not None and self.length is not None and turn.base > self.length - share.world_size:
            return
        plan = steps(share, base=turn.base, end=self.length)
        asked = leases(steps(share, base=turn.base, end=self.length), size=self._lease)
        samples = engine.samples(asked, ahead=(2 if share.workers == 1 else 1) * share.batch_size)
        try:
            for step in plan:
                some = itertools.islice(samples, len(step.indices))
                if self._own_place is not None:
                    left = (share.workers - 1 - share.worker) * share.world_size * share.batch_size
                    self._own_place = step.next_index + left
                if self.batch_size is None:
                    # The last step of a finite stream may hold two samples of a rank.
                    places = [*step.indices[1:], step.next_index]
                    for sample, place in zip(some, places, strict=True):
                        yield self._handed(
                            self._form.one(sample, next_index=place if share.workers == 1 else NO_PLACE), turn, place
                        )
                else:
                    batch = self._form.batch(list(some), next_index=step.next_index)
                    yield self._handed(batch, turn, step.next_index)
        finally:
            samples.close()  # type: ignore[attr-defined]

    def _handed(self, tensors: dict[str, Any], turn: Turn, next_index: int) -> dict[str, Any]:
        self._board.advance(turn, next_index, end=self.length)
        return tensors

    def _share(self, *, worker: int = 0, workers: int = 1) -> Share:
        batch_size = 1 if self.batch_size is None else self.batch_size
        return self._rank.share(batch_size=batch_size, worker=worker, workers=workers)
