"""litData reading a converted set, in the environment of peers_converted.py: part of peers.py."""

from __future__ import annotations

import pathlib
import warnings
from typing import TYPE_CHECKING, Any

import litdata

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peers_loop import Settings


class LitData:
    """Its dataset and loader, in order."""

    def __init__(self, settings: Settings) -> None:
        warnings.simplefilter("ignore")
        dataset = litdata.StreamingDataset(str(pathlib.Path(settings.folder) / "litdata"), shuffle=False)
        self._loader = litdata.StreamingDataLoader(
            dataset, batch_size=settings.batch_size, num_workers=settings.workers, persistent_workers=True
        )

    def batches(self, state: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
        """Epoch after epoch, from a state on."""
        if state is not None:
            self._loader.load_state_dict(state)
        while True:
            yield from self._loader

    def state(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Samples taken of this epoch, by worker."""
        del batch
        return self._loader.state_dict()
