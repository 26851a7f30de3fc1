"""The demonstration: a stream, two minutes of training, and a folder that shows what came of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanostream.files import write_json
from nanostream.segment.predict import predict
from nanostream.sheet import grey, overlay, save_sheet, sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanostream.segment.pictures import AnnotatedPicture
    from nanostream.segment.run import Run

__all__ = ["prediction_sheet", "results", "sample_sheet", "write_demo"]

PAIRS_A_ROW = 3
SHOWN_PAIRS = 12
SHOWN_PREDICTIONS = 6


def write_demo(run: Run, folder: str | Path) -> Path:
    """Write samples.png, predictions.png and results.json into a folder; returns the folder.

    Files of these names are replaced. Raises StoreError if the folder cannot be written.
    """
    folder = Path(folder)
    save_sheet(folder / "samples.png", sample_sheet(run.fresh[:SHOWN_PAIRS]))
    save_sheet(folder / "predictions.png", prediction_sheet(run, run.fresh[:SHOWN_PREDICTIONS]))
    write_json(folder / "results.json", results(run))
    return folder


def sample_sheet(pictures: Sequence[AnnotatedPicture]) -> Any:
    """Sheet of images beside their instances, three pairs a row: (height, width, 3) uint8."""
    tiles = [[grey(p.image), overlay(p.image, p.labels)] for p in pictures]
    rows = [
        [tile for pair in tiles[start : start + PAIRS_A_ROW] for tile in pair]
        for start in range(0, len(tiles), PAIRS_A_ROW)
    ]
    return sheet(rows, titles=("rendered image", "its mask") * min(PAIRS_A_ROW, len(tiles)))


def prediction_sheet(run: Run, pictures: Sequence[AnnotatedPicture]) -> Any:
    """Sheet of image, mask and what the network predicted, a sample a row."""
    return sheet(
        [
            [
                grey(p.image),
                overlay(p.image, p.labels),
                overlay(p.image, predict(run.model, p.image)),
            ]
            for p in pictures
        ],
        titles=("rendered image", "its mask", "predicted"),
    )


def results(run: Run) -> dict[str, Any]:
    """What results.json holds: plain JSON values."""
    progress = run.progress
    return {
        "recipe": run.model.about["recipe"],
        "training": {
            "start_seconds": round(progress.start_seconds, 2),
            "seconds": round(progress.seconds, 2),
            "steps": progress.step,
            "samples": progress.samples,
            "samples_per_second": round(progress.samples_per_second, 3),
            "wait_share": round(progress.wait_share, 4),
            "loss": round(progress.loss, 5),
            "render_workers": run.workers,
            "torch_threads": run.threads,
        },
        "fresh_samples": run.fresh_scores.as_dict(),
        "network": dataclasses.asdict(run.model.network_config),
    }
