"""MosaicML streaming reading a converted set, in the environment of peers_converted.py: part of peers.py."""

from __future__ import annotations

import pathlib
import warnings
from typing import TYPE_CHECKING

import streaming
from peers_epochs import Epochs

if TYPE_CHECKING:
    from peers_loop import Settings


class MosaicMl(Epochs):
    """Its dataset and loader, in order."""

    def __init__(self, settings: Settings) -> None:
        warnings.simplefilter("ignore")
        # What a killed process left in shared memory is refused by the next one.
        streaming.base.util.clean_stale_shared_memory()
        dataset = streaming.StreamingDataset(
            local=str(pathlib.Path(settings.folder) / "mds"), shuffle=False, batch_size=settings.batch_size
        )
        loader = streaming.StreamingDataLoader(
            dataset, batch_size=settings.batch_size, num_workers=settings.workers, persistent_workers=True
        )
        super().__init__(loader)
