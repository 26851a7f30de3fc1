"""Blender Cycles through bpy, in an environment of its own: part of peers.py.

    python3.11 -m venv blender && blender/bin/pip install bpy==4.5.15

Scenes come from meshes that were written beforehand, which favours it; it renders the image and no mask. bpy is
one process: `workers` of them render side by side and send through pipes.
"""

from __future__ import annotations

import itertools
import multiprocessing
import pathlib
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peers_loop import Settings

SPP, BOUNCES = 16, 3


class Blender:
    """Processes with bpy that take turns."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        context = multiprocessing.get_context("spawn")
        self._ends = []
        for number in range(settings.workers):
            here, there = context.Pipe(duplex=False)
            words = (there, settings.folder, number, settings.workers)
            context.Process(target=_produce, args=words, daemon=True).start()
            there.close()
            self._ends.append(here)

    def batches(self, state: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
        """From the first scene on."""
        del state
        turns = itertools.cycle(self._ends)
        while True:
            ones = [next(turns).recv() for _ in range(self._settings.batch_size)]
            yield {name: np.stack([one[name] for one in ones]) for name in ones[0]}

    def state(self, batch: dict[str, Any]) -> None:
        """It has none."""
        del batch


def _produce(end: Any, folder: str, number: int, workers: int) -> None:
    import bpy

    scenes = sorted(pathlib.Path(folder, "meshes").glob("*.npz"))
    with tempfile.TemporaryDirectory() as scratch:
        picture = pathlib.Path(scratch) / "picture.png"
        for index in itertools.count(number, workers):
            with np.load(scenes[index % len(scenes)], allow_pickle=False) as arrays:
                _render(bpy, arrays, picture)
            image = bpy.data.images.load(str(picture))
            width, height = image.size
            pixels = np.empty(width * height * image.channels, np.float32)
            image.pixels.foreach_get(pixels)
            bpy.data.images.remove(image)
            end.send({"index": index, "image": pixels.reshape(height, width, -1)[None, :, :, 0]})


def _render(bpy: Any, arrays: Any, picture: pathlib.Path) -> None:
    """One scene to a PNG: a mesh and a ground under a white sky, seen from straight above."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    height, width = (int(number) for number in arrays["size_px"])
    extent = float(width * arrays["pixel_nm"])
    # Cycles works in metres and loses digits far from 1: the picture is 1 wide.
    for name, vertices, faces in (
        ("particles", arrays["vertices"] / extent, arrays["faces"]),
        ("ground", np.array([[-9, -9, 0], [9, -9, 0], [9, 9, 0], [-9, 9, 0]], np.float32), np.array([[0, 1, 2, 3]])),
    ):
        mesh = bpy.data.meshes.new(name)
        mesh.from_pydata(vertices.tolist(), [], faces.tolist())
        mesh.shade_smooth()
        material = bpy.data.materials.new(name)
        material.use_nodes = True
        body = bpy.data.objects.new(name, mesh)
        body.data.materials.append(material)
        scene.collection.objects.link(body)
    world = bpy.data.worlds.new("sky")
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs[0].default_value = (1, 1, 1, 1)
    scene.world = world
    camera = bpy.data.cameras.new("camera")
    camera.type, camera.ortho_scale = "ORTHO", 1.0
    seen = bpy.data.objects.new("camera", camera)
    seen.location = (0.5, 0.5 * height / width, 5)
    scene.collection.objects.link(seen)
    scene.camera = seen
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.max_bounces, scene.cycles.device = SPP, BOUNCES, "CPU"
    scene.cycles.use_denoising = False
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    scene.render.resolution_x, scene.render.resolution_y = width, height
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "BW"
    scene.render.filepath = str(picture)
    bpy.ops.render.render(write_still=True)
