"""OME-Zarr for microscopists: image with its pixel size, labels with colours and properties, pyramids.

    folder/                       a bioformats2raw collection: image i of N is the series "i"
      OME                         the list of the series, and METADATA.ome.xml, which napari and Fiji ask for
      0/                          multiscales `image`: axes y, x in nanometres
        0, 1, ...                 (H, W), (H / 2, W / 2), ... uint8: means of 2 x 2 pixels
        labels/particles/
          0, 1, ...               uint16 labels, every second row and column

Series i holds the sample of index start + i. OME-NGFF 0.5 (Zarr v3), or 0.4 (Zarr v2) on request.
"""

from __future__ import annotations

import colorsys
import functools
import json
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import zarr
import zarr.storage

from nanostream.errors import StoreError
from nanostream.formats.codec import dump_json
from nanostream.formats.sink import Sink, names_of
from nanostream.formats.zarr import documents
from nanostream.formats.zarr_table import compressors, packed

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable

    import numpy.typing as npt

    from nanostream.formats.encoded import Encoded
    from nanostream.formats.files import Files
    from nanostream.sample import Sample

__all__ = ["OldOmeSink", "OmeSink", "encode", "encode_old"]

_LABELS = "particles"
_SMALLEST_PX = 128
"""A level is made of one whose edges are both longer than this."""

_PROPERTIES = ("diameter_nm", "length_nm", "hidden_fraction", "visible_px", "cut")
_WAYS = {
    "image": ("mean", "means of 2 x 2 pixels of the level before"),
    _LABELS: ("nearest", "every second row and column of the level before"),
}
_GOLDEN = 0.618033988749895
_XML = "xml"
_XML_START = b"""<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
"""


def encode(sample: Sample) -> dict[str, bytes]:
    """Every file of the series of one sample, OME-NGFF 0.5."""
    return _encoded(sample, "0.5")


def encode_old(sample: Sample) -> dict[str, bytes]:
    """Every file of the series of one sample, OME-NGFF 0.4."""
    return _encoded(sample, "0.4")


class _OmeSink(Sink):
    """A growing collection; a part is a run of series."""

    ours: ClassVar[re.Pattern[str]] = names_of(r"zarr\.json", "OME", r"\d+", r"\.zgroup", r"\.zattrs")
    version: ClassVar[str]

    def _put(self, number: int, samples: Iterable[Encoded], files: Files) -> dict[str, Any]:
        images = []
        for sample in samples:
            series = sample.index - self.provenance.start
            for name, data in sample.fields.items():
                if name == _XML:
                    images.append(b'<Image ID="Image:%d" %b' % (series, data))
                else:
                    files.put(f"{series}/{name}", data)
        self.folder.put(self.waiting_name(number), b"".join(images))
        return {}

    def _close(self, files: Files) -> None:
        with files.open("OME/METADATA.ome.xml") as write:
            write(_XML_START)
            for number in range(self.parts):
                write(self.folder.read(self.waiting_name(number)))
            write(b"</OME>\n")
        series = {"series": [str(number) for number in range(self.provenance.count)]}
        own = {"nanostream": self.description()}
        for name, data in _group("OME/", series, self.version).items():
            files.put(name, data)
        for name, data in _group("", {"bioformats2raw.layout": 3}, self.version, more=own).items():
            files.put(name, data)


@final
class OmeSink(_OmeSink):
    """A growing collection of OME-NGFF 0.5."""

    kind: ClassVar[str] = "ome-zarr"
    version: ClassVar[str] = "0.5"


@final
class OldOmeSink(_OmeSink):
    """A growing collection of OME-NGFF 0.4."""

    kind: ClassVar[str] = "ome-zarr-0.4"
    version: ClassVar[str] = "0.4"


def _encoded(sample: Sample, version: str) -> dict[str, bytes]:
    pixel_nm = sample.meta.get("pixel_nm")
    if not isinstance(pixel_nm, int | float) or not pixel_nm > 0:
        msg = f"expected a pixel size above 0 nm in sample {sample.index}, got {pixel_nm!r}: render it with nanostream"
        raise StoreError(msg)
    images, masks = [sample.image], [sample.mask]
    while min(images[-1].shape) > _SMALLEST_PX:
        images.append(_halved(images[-1]))
        masks.append(masks[-1][::2, ::2])
    scales = [_scales(sample.image.shape, image.shape, float(pixel_nm)) for image in images]
    label = {
        "multiscales": _multiscales(_LABELS, scales, version),
        "image-label": _image_label(sample, version),
    }
    about = {"nanostream": {"index": sample.index, "seed": sample.seed}}
    found = dict(_group("", {"multiscales": _multiscales("image", scales, version)}, version, more=about))
    found |= _group("labels/", {"labels": [_LABELS]}, version)
    found |= _group(f"labels/{_LABELS}/", label, version)
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        found |= _array(f"{number}/", image, version)
        found |= _array(f"labels/{_LABELS}/{number}/", mask, version)
    return {**found, _XML: _image_xml(sample.index, sample.image.shape, float(pixel_nm))}


def _image_xml(index: int, shape: tuple[int, ...], pixel_nm: float) -> bytes:
    """An image of OME-XML 2016-06, from its name on; which series it is stands before."""
    height, width = shape
    size = f'SizeX="{width}" SizeY="{height}" SizeZ="1" SizeC="1" SizeT="1"'
    physical = " ".join(f'PhysicalSize{axis}="{pixel_nm!r}" PhysicalSize{axis}Unit="nm"' for axis in "XY")
    pixels = f'<Pixels ID="Pixels:{index}" DimensionOrder="XYZCT" Type="uint8" {size} {physical}>'
    return f'Name="sample {index}">{pixels}<MetadataOnly/></Pixels></Image>\n'.encode()


def _halved(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(H, W) as means of 2 x 2, (ceil(H / 2), ceil(W / 2)); an odd edge is repeated."""
    height, width = image.shape
    even = np.pad(image, ((0, height % 2), (0, width % 2)), mode="edge").astype(np.uint16)
    total = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    return ((total + 2) // 4).astype(np.uint8)


def _scales(full: tuple[int, ...], shape: tuple[int, ...], pixel_nm: float) -> list[float]:
    return [pixel_nm * round(whole / part) for whole, part in zip(full, shape, strict=True)]


def _multiscales(name: str, scales: list[list[float]], version: str) -> list[dict[str, Any]]:
    own = {"version": version} if version == "0.4" else {}
    datasets = [
        {"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        for number, scale in enumerate(scales)
    ]
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "yx"]
    way = _WAYS[name]
    return [
        {"name": name, "axes": axes, "datasets": datasets, "type": way[0], "metadata": {"description": way[1]}, **own}
    ]


def _image_label(sample: Sample, version: str) -> dict[str, Any]:
    particles: dict[str, list[Any]] = sample.meta["particles"]
    labels = [int(label) for label in particles.get("label", [])]
    own = {"version": version} if version == "0.4" else {}
    label: dict[str, Any] = {**own, "source": {"image": "../../"}}
    if labels:
        label["colors"] = [{"label-value": number, "rgba": _colour(number)} for number in labels]
        label["properties"] = [
            {"label-value": number, **{name: particles[name][row] for name in _PROPERTIES if name in particles}}
            for row, number in enumerate(labels)
        ]
    else:
        label["colors"] = [{"label-value": 0, "rgba": [0, 0, 0, 0]}]
    return label


def _colour(label: int) -> list[int]:
    """RGBA of a label: hues that lie far apart for neighbouring numbers."""
    return [*(round(255 * value) for value in colorsys.hsv_to_rgb(label * _GOLDEN % 1, 0.75, 1.0)), 255]


def _group(where: str, ome: dict[str, Any], version: str, *, more: dict[str, Any] | None = None) -> dict[str, bytes]:
    """Metadata files of a group."""
    if version == "0.4":
        return {f"{where}.zgroup": dump_json({"zarr_format": 2}), f"{where}.zattrs": dump_json({**(more or {}), **ome})}
    attributes = {**(more or {}), "ome": {"version": version, **ome}}
    return {f"{where}zarr.json": dump_json({"zarr_format": 3, "node_type": "group", "attributes": attributes})}


def _array(where: str, values: npt.NDArray[Any], version: str) -> dict[str, bytes]:
    """Metadata file and the one chunk of an array."""
    document = _array_document(values.shape, values.dtype.str, version)
    chunk = packed(np.ascontiguousarray(values, values.dtype.newbyteorder("<")), checksum=version != "0.4")
    names = (".zarray", "0/0") if version == "0.4" else ("zarr.json", "c/0/0")
    return {f"{where}{name}": data for name, data in zip(names, (document, chunk), strict=True)}


@functools.cache
def _array_document(shape: tuple[int, ...], kind: str, version: str) -> bytes:
    values = np.dtype(kind)
    store = zarr.storage.MemoryStore()
    root = zarr.create_group(store, zarr_format=2 if version == "0.4" else 3)
    if version == "0.4":
        shuffle = 0 if values.itemsize == 1 else 1
        compressor = {"id": "blosc", "cname": "zstd", "clevel": 1, "shuffle": shuffle, "blocksize": 0}
        root.create_array("a", shape=shape, dtype=values, chunks=shape, compressors=None, fill_value=0)
        known = json.loads(documents(root)["a/.zarray"])
        return dump_json({**known, "compressor": compressor, "dimension_separator": "/"})
    root.create_array(
        "a",
        shape=shape,
        dtype=values,
        chunks=shape,
        compressors=compressors(values.itemsize),
        dimension_names=("y", "x"),
    )
    return documents(root)["a/zarr.json"]
