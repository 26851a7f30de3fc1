"""A sample in the forms that other programs read: PNG, npz and msgpack; the same bytes each time."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
from PIL import Image

from nanostream.formats.codec import decode, dump_json
from nanostream.formats.frames import sample_of_fields
from nanostream.formats.png import encode_png
from nanostream.sheet import overlay

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanostream.formats.encoded import Encoded
    from nanostream.sample import Sample

__all__ = ["FORMS", "PARTS", "as_map", "decoded", "form"]

FORMS = {"png": "application/zip", "npz": "application/x-npz", "msgpack": "application/msgpack"}
"""Forms of a whole sample, and their media types; `png` is a zip of two PNGs and the metadata."""

PARTS = {
    "image.png": "image/png",
    "mask.png": "image/png",
    "overlay.png": "image/png",
    "meta.json": "application/json",
}
"""Parts of a sample by themselves, and their media types."""

_EPOCH = (1980, 1, 1, 0, 0, 0)


def decoded(one: Encoded, format: str) -> Sample:  # noqa: A002 as elsewhere
    """The sample that a render worker encoded as "webdataset" or "zarr"."""
    if format == "zarr":
        return sample_of_fields(one.fields, seed=one.seed, index=one.index, shape=one.shape)
    return decode(one.fields, name=f"sample {one.index}")


def form(sample: Sample, name: str) -> bytes:
    """One of FORMS or PARTS of a sample."""
    return _MAKERS[name](sample)


def as_map(sample: Sample) -> dict[str, Any]:
    """A sample as a map of plain values: pixels as bytes, row by row, labels little-endian."""
    return {
        "seed": sample.seed,
        "index": sample.index,
        "shape": list(sample.image.shape),
        "image": sample.image.tobytes(),
        "mask": sample.mask.astype("<u2").tobytes(),
        "meta": json.loads(dump_json(sample.meta)),
    }


def _png16(sample: Sample) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(sample.mask, np.uint16)).save(file, "PNG", compress_level=6)
    return file.getvalue()


def _overlay(sample: Sample) -> bytes:
    """The instances' colours alone, on transparent ground, to lay over the image: RGBA."""
    colours = overlay(np.zeros_like(sample.image), sample.mask, strength=1.0)
    alpha = np.where(sample.mask > 0, np.uint8(255), np.uint8(0))
    file = io.BytesIO()
    Image.fromarray(np.dstack([colours, alpha])).save(file, "PNG", compress_level=6)
    return file.getvalue()


def _zip(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            # A fixed time: the same sample is the same file.
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return file.getvalue()


def _pair(sample: Sample) -> bytes:
    return _zip({part: form(sample, part) for part in ("image.png", "mask.png", "meta.json")})


def _npz(sample: Sample) -> bytes:
    file = io.BytesIO()
    meta = np.frombuffer(dump_json(sample.meta), np.uint8)
    np.savez_compressed(file, allow_pickle=False, image=sample.image, mask=sample.mask, meta=meta)
    return file.getvalue()


def _msgpack(sample: Sample) -> bytes:
    content = msgpack.packb(as_map(sample))
    assert content is not None
    return content


_MAKERS: dict[str, Callable[[Sample], bytes]] = {
    "image.png": lambda sample: encode_png(sample.image),
    "mask.png": _png16,
    "overlay.png": _overlay,
    "meta.json": lambda sample: dump_json(sample.meta),
    "png": _pair,
    "npz": _npz,
    "msgpack": _msgpack,
}
