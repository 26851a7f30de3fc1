"""The fixed sets and meshes that some peers read, and what they cost: part of peers.py."""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np
from render_scene import PICTURE, ensemble_of

from nanostream.export import export
from nanostream.recipe import Recipe

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection

FIXED = ("webdataset", "mosaic", "litdata", "monai")
MESHES = 16
_CONVERT = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
import peers_converted
ones = list(peers_converted.samples(pathlib.Path(sys.argv[2])))
{"mds": peers_converted.to_mds, "litdata": peers_converted.to_litdata}[sys.argv[3]](ones, pathlib.Path(sys.argv[4]))
"""


@dataclasses.dataclass
class Prepared:
    """What lies in a folder. cost: bytes on disk and seconds, by peer. train_rate: samples/s, 0 until it is known."""

    folder: pathlib.Path
    cost: dict[str, tuple[int, float]] = dataclasses.field(default_factory=dict)
    train_rate: float = 0.0


def prepare(folder: pathlib.Path, names: Collection[str], words: argparse.Namespace, *, recipe: str) -> Prepared:
    """Render and write what these peers read."""
    prepared, shards = Prepared(folder), folder / "set"
    wanted = [name for name in FIXED if name in names]
    if wanted:
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            export(
                Recipe.named(recipe),
                format="webdataset",
                count=words.count,
                seed=words.seed,
                out=shards,
                shard_size=max(1, words.count // (2 * words.workers)),
                workers=words.workers,
            )
        rendering = time.perf_counter() - began
        prepared.cost |= dict.fromkeys(wanted, (_nbytes(shards), rendering))
        for name, form in (("mosaic", "mds"), ("litdata", "litdata")):
            if name in names and words.peer_python:
                began = time.perf_counter()
                here = str(pathlib.Path(__file__).parent)
                command = [words.peer_python, "-c", _CONVERT, here, str(shards), form, str(folder / form)]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                prepared.cost[name] = _nbytes(folder / form), rendering + time.perf_counter() - began
    if "blender" in names:
        began = time.perf_counter()
        (folder / "meshes").mkdir()
        for index in range(MESHES):
            one = ensemble_of(index)
            np.savez(
                folder / "meshes" / f"{index:03d}.npz",
                vertices=one.vertices,
                faces=one.faces,
                size_px=(PICTURE.height, PICTURE.width),
                pixel_nm=PICTURE.pixel_nm,
            )
        prepared.cost["blender"] = _nbytes(folder / "meshes"), time.perf_counter() - began
    return prepared


def _nbytes(folder: pathlib.Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
