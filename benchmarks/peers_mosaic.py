"""MosaicML streaming reading a converted set, in the environment of peers_converted.py: part of peers.py."""

from __future__ import annotations

import pathlib
import warnings
from typing import TYPE_CHECKING, Any

import streaming

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peers_loop import Settings


class MosaicMl:
    """Its dataset and loader, in order."""

    def __init__(self, settings: Settings) -> None:
        warnings.simplefilter("ignore")
        # What a killed process left in shared memory is refused by the next one.
        streaming.base.util.clean_stale_shared_memory()
        dataset = streaming.StreamingDataset(
            local=str(pathlib.Path(settings.folder) / "mds"), shuffle=False, batch_size=settings.batch_size
        )
        self._loader = streaming.StreamingDataLoader(
            dataset, batch_size=settings.batch_size, num_workers=settings.workers, persistent_workers=True
        )

    def batches(self, state: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
        """Epoch after epoch, from a state on."""
        if state is not None:
            self._loader.load_state_dict(state)
        while True:
            yield from self._loader

    def state(self, batch: dict[str, Any]) -> dict[str, Any] | None:
        """Samples taken of this epoch."""
        del batch
        return self._loader.state_dict()
