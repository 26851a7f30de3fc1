"""A sample as three fields of bytes, and the very same sample again.

`image.png`: 8-bit grey. `mask.npy.gz`: 16-bit labels; WebDataset's decoders clip 16-bit PNG and
TIFF to 255 without a word, and leave npy alone. `meta.json`: sorted and compact.
The bytes depend on the sample and on the version of zlib, and on nothing else.
Reading never runs code, and never makes more than the picture's size says of a small field.
"""

from __future__ import annotations

import functools
import gzip
import io
import json
import zlib
from typing import TYPE_CHECKING, Any, NoReturn, cast

import numpy as np
from PIL import Image

from nanostream.errors import StoreError
from nanostream.formats.png import encode_png
from nanostream.sample import Sample

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

__all__ = [
    "FIELDS",
    "MAX_FIELD_BYTES",
    "check_sample",
    "decode",
    "dump_json",
    "encode",
    "parse_json",
]

FIELDS = ("image.png", "mask.npy.gz", "meta.json")
"""Names of the fields, in the order in which they are written."""

MAX_FIELD_BYTES = 2**28
"""No field is larger: a file that claims more is damaged, or means harm."""

_GZIP_LEVEL = 6
_NPY_HEADER_BYTES = 1024
_LABELS = np.dtype("<u2")


def encode(sample: Sample) -> dict[str, bytes]:
    """FIELDS as bytes, in order. Raises StoreError if the sample could not be read back."""
    check_sample(sample)
    labels = io.BytesIO()
    np.lib.format.write_array(
        labels, np.ascontiguousarray(sample.mask, dtype=_LABELS), version=(1, 0), allow_pickle=False
    )
    mask = io.BytesIO()
    # GzipFile writes the same header under every Python; gzip.compress leaves a byte to zlib.
    with gzip.GzipFile("", "wb", _GZIP_LEVEL, mask, mtime=0) as packed:
        packed.write(labels.getvalue())
    values = (encode_png(sample.image), mask.getvalue(), dump_json(sample.meta))
    return dict(zip(FIELDS, values, strict=True))


def decode(fields: Mapping[str, bytes], *, name: str = "sample", meta: bool = True) -> Sample:
    """Sample of the bytes that `encode` gave: image and mask writable, digest the same.

    name: what the fields belong to, for the error. meta: without it the metadata keeps only `seed`
    and `index`. Raises StoreError that names the first field that is missing or damaged.
    """
    for field in FIELDS:
        if field not in fields:
            msg = f"expected {', '.join(FIELDS)} in {name}, {field} is missing: export it again"
            raise StoreError(msg)
    image = _image(fields["image.png"], f"image.png of {name}")
    mask = _mask(fields["mask.npy.gz"], image.shape, f"mask.npy.gz of {name}")
    known = parse_json(fields["meta.json"], f"meta.json of {name}")
    for key in ("seed", "index"):
        if type(known.get(key)) is not int:
            _damaged(f"meta.json of {name}", f"a whole number as {key!r}", repr(known.get(key)))
    kept = known if meta else {key: known[key] for key in ("seed", "index")}
    return Sample(seed=known["seed"], index=known["index"], image=image, mask=mask, meta=kept)


def check_sample(sample: Sample) -> None:
    """Raise StoreError unless the sample is what Sample's docstring says."""
    where = f"sample {sample.index}"
    image, mask = sample.image, sample.mask
    if image.ndim != 2 or image.dtype != np.uint8 or 0 in image.shape:  # noqa: PLR2004 a picture has two axes
        _unfit(where, "an image of shape (H, W) and type uint8", f"{image.shape} {image.dtype}")
    if mask.shape != image.shape or mask.dtype != np.uint16:
        _unfit(where, f"a mask of shape {image.shape} and type uint16", f"{mask.shape} {mask.dtype}")
    if (sample.meta.get("seed"), sample.meta.get("index")) != (sample.seed, sample.index):
        _unfit(
            where,
            f"seed {sample.seed} and index {sample.index} in its metadata",
            f"{sample.meta.get('seed')!r} and {sample.meta.get('index')!r}",
        )
    if not isinstance(sample.meta.get("particles"), dict):
        _unfit(where, "a dict 'particles' in its metadata", repr(sample.meta.get("particles")))


def dump_json(value: object) -> bytes:
    """JSON with sorted keys and no blanks. Raises StoreError where JSON cannot hold the value."""
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        msg = f"expected plain JSON values, {error}: keep to finite numbers, text, lists and dicts"
        raise StoreError(msg) from error
    return text.encode()


def parse_json(data: bytes, name: str) -> dict[str, Any]:
    """Dict that `dump_json` wrote. Raises StoreError, with the name, if it is no JSON object."""
    if len(data) > MAX_FIELD_BYTES:
        _damaged(name, f"at most {MAX_FIELD_BYTES} bytes", f"{len(data)}")
    try:
        value = json.loads(data, parse_constant=_no_constant)
    # Deep nesting ends in a RecursionError, bytes that are no UTF-8 in a ValueError.
    except (ValueError, RecursionError) as error:
        _damaged(name, "JSON", str(error), error)
    if not isinstance(value, dict):
        _damaged(name, "a JSON object", type(value).__name__)
    return cast("dict[str, Any]", value)


def _image(data: bytes, name: str) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            height, width = picture.height, picture.width
            if picture.mode != "L" or height * width > MAX_FIELD_BYTES:
                _damaged(name, "8-bit grey", f"{height} x {width} pixels of mode {picture.mode}")
            return np.array(picture, dtype=np.uint8)
    except StoreError:
        raise
    # Pillow tells damage by its own errors, SyntaxError and struct's among them.
    except Exception as error:  # noqa: BLE001
        _damaged(name, "a PNG picture", str(error) or type(error).__name__, error)


def _mask(data: bytes, shape: tuple[int, ...], name: str) -> npt.NDArray[np.uint16]:
    most = shape[0] * shape[1] * _LABELS.itemsize + _NPY_HEADER_BYTES
    unpacker = zlib.decompressobj(wbits=31)
    try:
        raw = unpacker.decompress(data, most)
    except zlib.error as error:
        _damaged(name, "gzip", str(error), error)
    if not unpacker.eof:
        _damaged(name, f"a whole gzip stream of at most {most} bytes", "one that goes on")
    header = _npy_header(shape)
    if raw.startswith(header) and len(raw) == len(header) + shape[0] * shape[1] * _LABELS.itemsize:
        return np.frombuffer(raw, _LABELS, offset=len(header)).reshape(shape).astype(np.uint16)
    try:
        stream = io.BytesIO(raw)
        labels = np.lib.format.read_array(stream, allow_pickle=False, max_header_size=_NPY_HEADER_BYTES)
    # numpy reads the header as a Python literal, whose parser raises more than ValueError.
    except Exception as error:  # noqa: BLE001
        _damaged(name, "an npy array without pickled objects", str(error).splitlines()[0], error)
    if labels.dtype != _LABELS or labels.shape != shape or stream.read(1):
        _damaged(name, f"uint16 labels of shape {shape}", f"{labels.dtype} {labels.shape}")
    return labels.astype(np.uint16, copy=False)


@functools.lru_cache(maxsize=16)
def _npy_header(shape: tuple[int, ...]) -> bytes:
    """What stands before the labels: comparing it is a fifth of the cost of parsing it."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": shape, "fortran_order": False, "descr": _LABELS.str})
    return header.getvalue()


def _no_constant(name: str) -> NoReturn:
    msg = f"{name} is no JSON"
    raise ValueError(msg)


def _damaged(name: str, expected: str, got: str, error: Exception | None = None) -> NoReturn:
    msg = f"{name} is damaged: expected {expected}, got {got}; export or copy it again"
    raise StoreError(msg) from error


def _unfit(name: str, expected: str, got: str) -> NoReturn:
    msg = f"{name} cannot be stored: expected {expected}, got {got}; render it with nanostream"
    raise StoreError(msg)
