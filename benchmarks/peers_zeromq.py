"""A pool of producers that push what they render through ZeroMQ, as blendtorch does: part of peers.py.

    python benchmarks/peers_zeromq.py RENDERER RECIPE SEED ADDRESS      a producer

blendtorch (Heindl et al., ICPR 2020): independent producers, each with a seed of its own, connected to a PULL
socket with a high-water mark of 10; they send pickles, and the consumer takes what comes first.
"""

from __future__ import annotations

import itertools
import pathlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import zmq
from peers_renderers import RENDERERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peers_loop import Settings

HIGH_WATER_MARK = 10
_APART = 100_000
"""Between the first indices of two producers."""


class _Pool:
    renderer = ""

    def __init__(self, settings: Settings) -> None:
        self._size = settings.batch_size
        self._socket = zmq.Context.instance().socket(zmq.PULL)
        self._socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        words = [self.renderer, settings.recipe, str(settings.seed), f"tcp://127.0.0.1:{port}"]
        self._producers = [
            subprocess.Popen([sys.executable, pathlib.Path(__file__), *words, str(number * _APART)])
            for number in range(settings.workers)
        ]

    def batches(self, state: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
        """In the order in which they come."""
        del state
        while True:
            ones = [self._socket.recv_pyobj() for _ in range(self._size)]
            yield {name: np.stack([one[name] for one in ones]) for name in ones[0]}

    def state(self, batch: dict[str, Any]) -> None:
        """A pool of producers has none."""
        del batch


class ZeroMqMitsuba(_Pool):
    """Producers that call Mitsuba."""

    renderer = "mitsuba"


class ZeroMqRender(_Pool):
    """Producers that call this project's renderer."""

    renderer = "own"


def produce(renderer: str, recipe: str, seed: int, address: str, first: int) -> None:
    """Render and push, without end."""
    socket = zmq.Context.instance().socket(zmq.PUSH)
    socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
    socket.connect(address)
    render = RENDERERS[renderer](recipe, seed=seed)
    for index in itertools.count(first):
        socket.send_pyobj(render(index))


if __name__ == "__main__":
    produce(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
