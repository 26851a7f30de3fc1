"""Endless streams of rendered particle pictures and their masks, for training segmentation networks.

    recipe + index -> scene -> texture parameters -> rendered image and instance ids -> detector
                   -> sample -> lease -> batch -> training loop, or sink

| word     | meaning                                                                               |
|----------|---------------------------------------------------------------------------------------|
| recipe   | all that decides the pixels: scene, texture, camera, detector, picture size           |
| scene    | a particle ensemble in nanometres: shapes, sizes, positions, orientations             |
| texture  | a learned distribution of rendering parameters: a GAN's generator with its bounds     |
| detector | blur, gain, shot and read-out noise, line noise, quantisation                         |
| sample   | image, instance mask, metadata; a pure function of (recipe, seed, index)              |
| lease    | a range of consecutive indices given to one render worker                             |
| engine   | what turns leases into samples: `local` (this process) or `ray` (actors)              |
| stream   | samples in index order, from an engine, with a place that can be saved                |
| sink     | where a stream can be written: WebDataset, Zarr, OME-Zarr, COCO, nnU-Net's folders    |

The parts, in the order in which they build on each other; each imports only from those above it:

    errors, files, seeding, telemetry, sample
    scene/      sizes, shapes, placement: numbers only
    texture/    parameters and bounds, generator, checkpoint
    render/     Mitsuba and Dr.Jit: geometry, image, mask, detector
    recipe      Recipe, presets, hashes
    synth       (recipe, seed, index) -> Sample
    gan/        textures learned from pictures, and how real they are
    formats/    samples at rest
    stream/     plan (order, ranks, place) and engines; Ray lives here
    receipt     a sample's receipt, and the sample again
    dataset     StreamingDataset and the datasets that read sinks back
    export      stream -> sinks
    segment/    network, training, prediction, measurement
    gateway/    the stream over HTTP
    bench/, cli/

Coordinates: x right, y down, z up towards the viewer, in nanometres from the picture's upper left
corner; the ground is z = 0, and pixel (r, c) has its centre at ((c + 0.5), (r + 0.5)) * pixel_nm.

Importing this package loads no torch, Ray or Mitsuba and starts nothing; each name below brings in
what it needs when it is first used.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nanostream import errors
    from nanostream.dataset import StreamingDataset
    from nanostream.recipe import Recipe
    from nanostream.sample import Sample
    from nanostream.stored import ShardDataset, ZarrDataset
    from nanostream.synth import render

__all__ = [
    "Recipe",
    "Sample",
    "ShardDataset",
    "StreamingDataset",
    "ZarrDataset",
    "__version__",
    "errors",
    "render",
]

__version__ = "0.1.0"

_HOMES = {
    "Recipe": "nanostream.recipe",
    "Sample": "nanostream.sample",
    "ShardDataset": "nanostream.stored",
    "StreamingDataset": "nanostream.dataset",
    "ZarrDataset": "nanostream.stored",
    "render": "nanostream.synth",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("nanostream.errors")
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(types.ModuleType):
    """Keeps `render` the function: the import system would put the part render/ in its place."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "render" and isinstance(value, types.ModuleType):
            return
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
