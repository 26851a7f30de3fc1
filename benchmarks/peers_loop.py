"""A training loop around what one peer delivers, in a process of its own, ended by SIGKILL: part of peers.py.

    python benchmarks/peers_loop.py SETTINGS.json

SETTINGS.json holds the fields of `Settings`. It needs the standard library alone, so that it runs in the
environments of others. Writes what it measured to SETTINGS.said, and then waits for the kill; with `resume`, it
begins from the state that it saved, and writes the indices that come.

The training loop of the second part sleeps for as long as a training would compute elsewhere, as on a GPU:
what it waits for beyond that is the loader's.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import json
import pathlib
import signal
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

SAID = ".said"
WINDOWS = 5
_FEW = 3
_ENOUGH_BATCHES = 4 * WINDOWS
_SLOWEST = 4
"""Times the asked seconds that slow ones may take for that many batches."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What a peer needs to know; all of it plain JSON."""

    peer: str
    """Module and class, such as peers_ours:Nanostream."""
    recipe: str
    """Preset, or recipe file."""
    folder: str
    """Where the fixed sets lie, and this peer may write."""
    began: float
    """time.time() when the process was started."""
    seed: int = 0
    workers: int = 2
    batch_size: int = 4
    seconds: float = 10.0
    """Of each of the two parts."""
    train_rate: float | None = None
    """Samples/s that training takes; None: 0.8 of what this peer delivered."""
    resume: bool = False


class Peer(Protocol):
    """What is compared. A batch is a dict with `index`: which sample it is, one number each."""

    def __init__(self, settings: Settings) -> None: ...

    def batches(self, state: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
        """Batches without end, from a state on where there is one."""
        ...

    def state(self, batch: dict[str, Any]) -> dict[str, Any] | None:
        """What its library lets a checkpoint hold behind this batch; None: nothing."""
        ...


def indices(batch: dict[str, Any]) -> list[int]:
    """Numbers of the samples of a batch."""
    return [int(index) for index in batch["index"]]


def window_rates(arrivals: list[float], size: int) -> list[float]:
    """Samples/s in five windows of equal numbers of batches. arrivals: of batches, the first starts the clock."""
    each = (len(arrivals) - 1) // WINDOWS
    edges = arrivals[::each][: WINDOWS + 1]
    return [size * each / (after - before) for before, after in itertools.pairwise(edges)]


def share_waited(
    stream: Iterator[dict[str, Any]], *, train_seconds: float, seconds: float
) -> tuple[list[float], list[list[int]]]:
    """Shares of its time that a training waits which sleeps `train_seconds` for each batch, and the indices taken.

    A share each of five windows that take `seconds` together, or two batches each.
    """
    shares, consumed = [], []
    for _ in range(WINDOWS):
        waited, began = 0.0, time.perf_counter()
        for number in itertools.count():
            asked = time.perf_counter()
            consumed.append(indices(next(stream)))
            waited += time.perf_counter() - asked
            time.sleep(train_seconds)
            if time.perf_counter() - began >= seconds / WINDOWS and number:
                break
        shares.append(waited / (time.perf_counter() - began))
    return shares, consumed


def measure(peer: Peer, settings: Settings, state_file: pathlib.Path) -> dict[str, Any]:
    """Everything but the resume: seconds to the first batch, rates, share waited, indices."""
    stream = peer.batches(None)
    consumed = [indices(next(stream))]
    first = time.time() - settings.began
    # What was prefetched while the first batch was on its way would count as speed.
    consumed += [indices(batch) for batch in itertools.islice(stream, 2 * settings.workers)]
    # Those of several workers come in bursts, which a window has to hold whole.
    least = WINDOWS * max(2, settings.workers)
    arrivals = [time.perf_counter()]
    for batch in stream:
        consumed.append(indices(batch))
        arrivals.append(time.perf_counter())
        spent = arrivals[-1] - arrivals[0]
        enough = len(arrivals) > _ENOUGH_BATCHES or spent > _SLOWEST * settings.seconds
        if spent >= settings.seconds and enough and len(arrivals) > least:
            break
    rates = window_rates(arrivals, settings.batch_size)
    train_rate = settings.train_rate or 0.8 * statistics.median(rates)
    waits, some = share_waited(stream, train_seconds=settings.batch_size / train_rate, seconds=settings.seconds)
    consumed += some
    batch = next(stream)
    consumed.append(indices(batch))
    state = peer.state(batch)
    if state is not None:
        state_file.write_text(json.dumps(state))
    used = list(itertools.chain.from_iterable(consumed))
    after = [index for batch in itertools.islice(stream, _FEW) for index in indices(batch)]
    return {
        "first_seconds": first,
        "rates": rates,
        "train_rate": train_rate,
        "waits": waits,
        "seen": len(used),
        "distinct": len(set(used)),
        "used": sorted(set(used)),
        "begin": consumed[0],
        "after": after,
    }


def main() -> None:
    """Measure, say so, and wait to be killed; or begin again."""
    settings = Settings(**json.loads(pathlib.Path(sys.argv[1]).read_text()))
    module, _, name = settings.peer.partition(":")
    state_file = pathlib.Path(settings.folder) / f"{name}.state.json"
    peer: Peer = getattr(importlib.import_module(module), name)(settings)
    if settings.resume:
        state = json.loads(state_file.read_text()) if state_file.exists() else None
        got = [index for batch in itertools.islice(peer.batches(state), _FEW) for index in indices(batch)]
        said = {"resumed": got, "state": state is not None}
    else:
        state_file.unlink(missing_ok=True)
        said = measure(peer, settings, state_file)
    partial = pathlib.Path(sys.argv[1]).with_suffix(".partial")
    partial.write_text(json.dumps(said))
    partial.replace(partial.with_suffix(SAID))
    signal.pause()


if __name__ == "__main__":
    main()
