"""OME-Zarr: conformant by the published schemas, and opened by other people's readers."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pytest
import zarr
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from nanostream.formats.provenance import Provenance
from nanostream.formats.sinks import write_samples
from nanostream.formats.verify import verify
from nanostream.sample import PARTICLE_COLUMNS, Sample

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

_COUNT, _START, _PIXEL_NM = 3, 7, 2.5
_SHAPE = (300, 262)
_KINDS = {"0.5": "ome-zarr", "0.4": "ome-zarr-0.4"}


def sample(index: int) -> Sample:
    rng = np.random.default_rng(index)
    mask = np.zeros(_SHAPE, np.uint16)
    labels = [1, 300, 40_000][: index % 4]
    for number, label in enumerate(labels):
        mask[10 + 40 * number : 40 + 40 * number, 20:90] = label
    particles = {name: [round(float(rng.normal()), 3) for _ in labels] for name in PARTICLE_COLUMNS}
    particles |= {"label": labels, "visible_px": [2100] * len(labels), "cut": [False] * len(labels)}
    meta = {"recipe": "r", "build": "b", "backend": "fake", "seed": 3, "index": index, "pixel_nm": _PIXEL_NM}
    image = rng.integers(0, 256, _SHAPE, dtype=np.uint8)
    return Sample(seed=3, index=index, image=image, mask=mask, meta={**meta, "particles": particles})


@pytest.fixture(scope="module", params=_KINDS)
def collection(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, pathlib.Path]:
    folder = tmp_path_factory.mktemp("ome") / "set.zarr"
    origin = {"recipe": {"name": "x"}, "recipe_hash": "r", "build_hash": "b", "backend": "fake"}
    told = Provenance(**origin, seed=3, start=_START, count=_COUNT)
    ones = (sample(index) for index in range(_START, _START + _COUNT))
    write_samples(_KINDS[request.param], ones, folder, provenance=told, shard_size=2)
    return request.param, folder


def attributes(version: str, folder: pathlib.Path) -> dict[str, Any]:
    """All attributes of a group, as the schemas of its version take them."""
    if version == "0.4":
        return json.loads((folder / ".zattrs").read_bytes())
    return json.loads((folder / "zarr.json").read_bytes())["attributes"]


def ome(version: str, folder: pathlib.Path) -> dict[str, Any]:
    known = attributes(version, folder)
    return known if version == "0.4" else known["ome"]


def test_every_group_is_valid_by_the_published_schemas(
    collection: tuple[str, pathlib.Path], shared_data: pathlib.Path
) -> None:
    """Collection, series list, image, label list and label image validate, by the strict schemas too."""
    version, folder = collection
    schemas = shared_data / "schemas" / "ngff" / version
    if not schemas.is_dir():
        pytest.skip(f"the published schemas are not on this machine ({schemas})")
    known = {path.stem: json.loads(path.read_bytes()) for path in schemas.glob("*.schema")}
    resources = [(schema["$id"], Resource(schema, DRAFT202012)) for schema in known.values() if "$id" in schema]
    registry: Any = Registry().with_resources(resources)
    groups = {".": "bf2raw", "OME": "ome"}
    for series in range(_COUNT):
        groups |= {f"{series}": "image", f"{series}/labels/particles": "label"}
    checked = 0
    for where, name in groups.items():
        for schema in (name, f"strict_{name}", "image" if name == "label" else name):
            if schema in known:
                validator = jsonschema.Draft202012Validator(known[schema], registry=registry)
                assert [error.message for error in validator.iter_errors(attributes(version, folder / where))] == []
                checked += 1
    assert checked >= 2 + 4 * _COUNT
    if "ome_zarr" in known:
        validator = jsonschema.Draft202012Validator(known["ome_zarr"], registry=registry)
        for where in (".", "OME", "0", "0/labels/particles"):
            assert [error.message for error in validator.iter_errors(attributes(version, folder / where))] == []


def test_pixels_and_pyramids(collection: tuple[str, pathlib.Path]) -> None:
    """Level 0 is the sample; each next level halves both, with as many levels of labels, which stay labels."""
    version, folder = collection
    assert ome(version, folder / "OME")["series"] == ["0", "1", "2"]
    for series in range(_COUNT):
        one = sample(_START + series)
        root = zarr.open_group(folder / str(series), mode="r")
        levels = [root[str(level)][:] for level in range(3)]  # type: ignore[index]
        labels = [root[f"labels/particles/{level}"][:] for level in range(3)]  # type: ignore[index]
        assert (levels[0] == one.image).all()
        assert (labels[0] == one.mask).all()
        assert [array.shape for array in levels] == [(300, 262), (150, 131), (75, 66)]
        assert [array.shape for array in labels] == [(300, 262), (150, 131), (75, 66)]
        means = one.image.reshape(150, 2, 131, 2).mean((1, 3))
        assert np.abs(levels[1].astype(float) - means).max() < 1
        assert set(np.unique(labels[2])) <= set(np.unique(labels[0]))
        assert {array.dtype for array in labels} == {np.dtype("uint16")}
        for name in (str(series), f"{series}/labels/particles"):
            scales = ome(version, folder / name)["multiscales"][0]
            assert scales["axes"] == [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "yx"]
            found = [level["coordinateTransformations"] for level in scales["datasets"]]
            assert found == [[{"type": "scale", "scale": [_PIXEL_NM * 2**level] * 2}] for level in range(3)]


def test_labels_carry_what_is_known(collection: tuple[str, pathlib.Path]) -> None:
    """Each label has a colour of its own, the true diameter and the hidden fraction."""
    version, folder = collection
    assert ome(version, folder / "0" / "labels")["labels"] == ["particles"]
    for series in range(_COUNT):
        particles = sample(_START + series).meta["particles"]
        label = ome(version, folder / str(series) / "labels" / "particles")["image-label"]
        properties = label.get("properties", [])
        assert [entry["label-value"] for entry in properties] == particles["label"]
        assert [entry["diameter_nm"] for entry in properties] == particles["diameter_nm"]
        assert [entry["hidden_fraction"] for entry in properties] == particles["hidden_fraction"]
        if properties:
            colours = {entry["label-value"]: tuple(entry["rgba"]) for entry in label["colors"]}
            assert list(colours) == particles["label"]
            assert len(set(colours.values())) == len(colours)


def test_verify_finds_nothing(collection: tuple[str, pathlib.Path]) -> None:
    """`verify` is content with the whole collection, and names a chunk that was changed."""
    _, folder = collection
    assert verify(folder) == []
    chunk = next(path for path in (folder / "1").rglob("0") if path.is_file())
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert len(verify(folder)) == 1
    chunk.write_bytes(whole)


def run(code: str, *words: str) -> str:
    """What some code prints in a process of its own, where other people's warnings do not matter."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


_OME_ZARR = """
import sys, numpy, warnings
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
found = {}
for node in Reader(parse_url(sys.argv[1]))():
    if node.data:  # the list of labels has none
        found[node.zarr.basename()] = [numpy.asarray(level) for level in node.data]
for name, levels in sorted(found.items()):
    print(name, len(levels), levels[0].shape, int(levels[0].astype("i8").sum()))
"""


def test_ome_zarr_reads_image_and_labels(collection: tuple[str, pathlib.Path]) -> None:
    """The ome-zarr library's reader finds image and labels, with all their levels and pixels."""
    pytest.importorskip("ome_zarr")
    _, folder = collection
    one = sample(_START + 2)
    lines = run(_OME_ZARR, str(folder / "2")).splitlines()
    assert sorted(lines) == sorted(
        [f"2 3 {_SHAPE} {one.image.sum(dtype='i8')}", f"particles 3 {_SHAPE} {one.mask.sum(dtype='i8')}"]
    )


_MODELS = """
import sys, zarr
from ome_zarr_models import open_ome_zarr
for series in sys.argv[2:]:
    group = open_ome_zarr(zarr.open_group(f"{sys.argv[1]}/{series}", mode="r"))
    print(type(group).__name__)
"""


def test_ome_zarr_models_validates(collection: tuple[str, pathlib.Path]) -> None:
    """ome-zarr-models takes the collection, each image and each label image for what they are."""
    pytest.importorskip("ome_zarr_models")
    version, folder = collection
    shown = run(_MODELS, str(folder), "0", "1", "2", "0/labels", "2/labels/particles").split()
    assert shown == ["Image"] * 3 + ["Labels", "ImageLabel"], version


_NAPARI = """
import hashlib, sys, numpy, npe2
from napari.components import ViewerModel
npe2.PluginManager.instance().discover()
viewer = ViewerModel()
viewer.open(sys.argv[1], plugin="napari-ome-zarr")
for layer in viewer.layers:
    level = numpy.asarray(layer.data[0] if layer.multiscale else layer.data)
    digest = hashlib.sha256(level.astype("<u2").tobytes()).hexdigest()
    known = [float(one) for one in getattr(layer, "properties", {}).get("diameter_nm", [])]
    print(type(layer).__name__, layer.scale.tolist(), level.shape, digest, known)
"""


@pytest.mark.parametrize("series", [[2], range(_COUNT)])
def test_napari_shows_labels_over_the_image(collection: tuple[str, pathlib.Path], series: Sequence[int]) -> None:
    """Napari, without a window, opens a series or all, labels with their diameters over the image, pixel by pixel."""
    pytest.importorskip("napari_ome_zarr")
    _, folder = collection
    expected = []
    for one in (sample(_START + number) for number in series):
        known = one.meta["particles"]["diameter_nm"]
        for kind, pixels, diameters in (("Image", one.image, []), ("Labels", one.mask, known)):
            digest = hashlib.sha256(pixels.astype("<u2").tobytes()).hexdigest()
            expected.append(f"{kind} {[_PIXEL_NM, _PIXEL_NM]} {_SHAPE} {digest} {diameters}")
    shown = run(_NAPARI, str(folder / "2" if len(series) == 1 else folder)).splitlines()
    assert shown[-len(expected) :] == expected


def test_ome_xml_describes_every_series(collection: tuple[str, pathlib.Path]) -> None:
    """METADATA.ome.xml names each series in order, with its size and the pixel size in nanometres."""
    _, folder = collection
    images = list(ET.parse(folder / "OME" / "METADATA.ome.xml").getroot())  # noqa: S314 our own file
    assert [image.get("ID") for image in images] == [f"Image:{series}" for series in range(_COUNT)]
    assert [image.get("Name") for image in images] == [f"sample {_START + series}" for series in range(_COUNT)]
    for image in images:
        pixels = image[0].attrib
        assert (int(pixels["SizeY"]), int(pixels["SizeX"]), pixels["Type"]) == (*_SHAPE, "uint8")
        assert (float(pixels["PhysicalSizeX"]), pixels["PhysicalSizeXUnit"]) == (_PIXEL_NM, "nm")
