"""litData reading a converted set, in the environment of peers_converted.py: part of peers.py."""

from __future__ import annotations

import pathlib
import warnings
from typing import TYPE_CHECKING

import litdata
from peers_epochs import Epochs

if TYPE_CHECKING:
    from peers_loop import Settings


class LitData(Epochs):
    """Its dataset and loader, in order."""

    def __init__(self, settings: Settings) -> None:
        warnings.simplefilter("ignore")
        dataset = litdata.StreamingDataset(str(pathlib.Path(settings.folder) / "litdata"), shuffle=False)
        loader = litdata.StreamingDataLoader(
            dataset, batch_size=settings.batch_size, num_workers=settings.workers, persistent_workers=True
        )
        super().__init__(loader)
