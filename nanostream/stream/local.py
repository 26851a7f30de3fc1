"""The engine that renders in this process: one renderer, no thread."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from nanostream.errors import ForkError, NanostreamError
from nanostream.stream.engine import SYNTH, Build, Engine, render_error, resolve, together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nanostream.sample import Sample
    from nanostream.stream.engine import StreamRecipe, Synthesizer

__all__ = ["LocalEngine"]


class LocalEngine(Engine):
    """Renders each sample when it is asked for; on a graphics card, the whole lease.

    A forked child gets a renderer of its own; ForkError where the parent was rendering meanwhile.
    """

    def __init__(
        self,
        recipe: StreamRecipe,
        *,
        seed: int = 0,
        synth: str | Callable[..., Synthesizer] = SYNTH,
    ) -> None:
        super().__init__()
        self._recipe = recipe
        self._seed = seed
        self._factory = synth
        self._synth: Synthesizer | None = None
        self._pid = os.getpid()
        self._rendering = False

    @property
    def build(self) -> Build:
        """What renders; starts the renderer where it is not running yet."""
        backend = self._renderer().backend
        return Build(self._recipe.build_hash(backend), backend)

    def close(self) -> None:
        """Let go of the renderer."""
        self._synth = None

    def _renderer(self) -> Synthesizer:
        if os.getpid() != self._pid:
            if self._rendering:
                msg = (
                    "expected a process forked while nothing renders, got one forked during a render, in which "
                    "the renderer would hang; start it with multiprocessing_context='spawn'"
                )
                raise ForkError(msg)
            self._synth, self._pid = None, os.getpid()
        if self._synth is None:
            factory = resolve(self._factory) if isinstance(self._factory, str) else self._factory
            synth: Synthesizer = factory(self._recipe)
            self._synth = synth
        return self._synth

    def _render(self, leases: Iterable[range], ahead: int) -> Iterator[Sample]:
        del ahead  # nothing is rendered before its lease is asked for
        for lease in leases:
            left = lease
            for sample in self._together(lease):
                left = left[1:]
                yield sample
            for index in left:
                yield self._one(index)

    def _together(self, lease: range) -> Iterator[Sample]:
        began = time.perf_counter()
        for sample in together(self._renderer(), seed=self._seed, indices=lease):
            self.counters.rendered(1, time.perf_counter() - began, sample.nbytes)
            yield sample
            began = time.perf_counter()

    def _one(self, index: int) -> Sample:
        synth = self._renderer()
        began = time.perf_counter()
        self._rendering = True
        try:
            sample = synth.render(seed=self._seed, index=index)
        except NanostreamError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise render_error(self._recipe, seed=self._seed, index=index, reason=reason) from error
        finally:
            self._rendering = False
        self.counters.rendered(1, time.perf_counter() - began, sample.nbytes)
        return sample
