"""A fixed set as WebDataset shards on disk, read by the webdataset library: part of peers.py."""

from __future__ import annotations

import pathlib
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import webdataset
from peers_epochs import Epochs

if TYPE_CHECKING:
    from peers_loop import Settings


def decoded(record: dict[str, Any]) -> dict[str, Any]:
    """Index, image (1, H, W) float32 in [0, 1] and mask (H, W) int32 of a record."""
    image = np.asarray(record["image.png"])[None].astype(np.float32) / 255
    return {"index": record["meta.json"]["index"], "image": image, "mask": record["mask.npy.gz"].astype(np.int32)}


def records(folder: pathlib.Path) -> Any:
    """The shards of a folder, over and over by the library's own worker splitting."""
    names = sorted(map(str, folder.glob("*.tar")))
    pipeline = webdataset.WebDataset(names, shardshuffle=False, workersplitter=webdataset.split_by_worker)
    return pipeline.decode("l8").map(decoded)


class WebDataset(Epochs):
    """Shards read by its WebLoader."""

    def __init__(self, settings: Settings) -> None:
        warnings.simplefilter("ignore")
        loader = webdataset.WebLoader(
            records(pathlib.Path(settings.folder) / "set"),
            batch_size=settings.batch_size,
            num_workers=settings.workers,
            persistent_workers=True,
        )
        super().__init__(loader)
