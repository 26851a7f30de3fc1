"""nanostream itself, in the table of peers.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nanostream.dataset import StreamingDataset
from nanostream.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peers_loop import Settings


class Nanostream:
    """Render workers that hand on in order."""

    def __init__(self, settings: Settings) -> None:
        self._dataset = StreamingDataset(
            Recipe.named(settings.recipe),
            seed=settings.seed,
            batch_size=settings.batch_size,
            engine="ray",
            workers=settings.workers,
        )

    def batches(self, state: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
        """The stream, from a place on."""
        if state is not None:
            self._dataset.load_state_dict(state)
        return iter(self._dataset)

    def state(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The place behind the batch."""
        return self._dataset.state_dict(after=batch)
