"""torch's DataLoader, whose workers render in `__getitem__`: part of peers.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch.utils.data
from peers_renderers import RENDERERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peers_loop import Settings

LENGTH = 1_000_000


class Rendered(torch.utils.data.Dataset[dict[str, Any]]):
    """A map-style dataset without end for all that a benchmark sees; the renderer is made in the worker."""

    def __init__(self, renderer: str, recipe: str, *, seed: int) -> None:
        self._made: Any = None
        self._how = renderer, recipe, seed

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self._made is None:
            renderer, recipe, seed = self._how
            self._made = RENDERERS[renderer](recipe, seed=seed)
        return self._made(index)


class _Loader:
    renderer = ""

    def __init__(self, settings: Settings) -> None:
        dataset = Rendered(self.renderer, settings.recipe, seed=settings.seed)
        self._loader = torch.utils.data.DataLoader(
            dataset, batch_size=settings.batch_size, num_workers=settings.workers
        )

    def batches(self, state: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
        """From the first sample on."""
        del state
        return iter(self._loader)

    def state(self, batch: dict[str, Any]) -> None:
        """A DataLoader has none."""
        del batch


class LoaderMitsuba(_Loader):
    """Workers that call Mitsuba."""

    renderer = "mitsuba"


class LoaderRender(_Loader):
    """Workers that call this project's renderer."""

    renderer = "own"
