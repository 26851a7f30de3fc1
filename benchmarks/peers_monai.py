"""A fixed set in memory, augmented by MONAI: part of peers.py."""

from __future__ import annotations

import pathlib
import warnings
from typing import TYPE_CHECKING

import monai.data
import monai.transforms
import webdataset
from peers_epochs import Epochs
from peers_webdataset import decoded

if TYPE_CHECKING:
    from peers_loop import Settings

_BOTH = ["image", "mask"]
_IMAGE = ["image"]


class MonaiAugmented(Epochs):
    """Flips, turns, contrast and noise, drawn anew each time."""

    def __init__(self, settings: Settings) -> None:
        warnings.simplefilter("ignore")
        names = sorted(map(str, (pathlib.Path(settings.folder) / "set").glob("*.tar")))
        ones = [decoded(record) for record in webdataset.WebDataset(names, shardshuffle=False).decode("l8")]
        for one in ones:
            one["mask"] = one["mask"][None]
        augment = monai.transforms.Compose(
            [
                monai.transforms.RandFlipd(_BOTH, prob=0.5, spatial_axis=0),
                monai.transforms.RandRotate90d(_BOTH, prob=0.75, max_k=3),
                monai.transforms.RandAdjustContrastd(_IMAGE, prob=0.5),
                monai.transforms.RandGaussianNoised(_IMAGE, prob=0.5, std=0.02),
            ]
        )
        augment.set_random_state(settings.seed)
        loader = monai.data.DataLoader(
            monai.data.Dataset(ones, augment),
            batch_size=settings.batch_size,
            shuffle=True,
            num_workers=settings.workers,
            persistent_workers=True,
        )
        super().__init__(loader)
