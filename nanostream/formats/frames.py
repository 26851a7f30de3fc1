"""Samples on their way over a connection: frames of msgpack, each with its length before it.

    frame    4 bytes, big-endian: length of the body; then the body, a msgpack map
    samples  list of maps: seed, index, shape (H, W), and `image`, `mask`, `particles`, `json` as in zarr.py
    next     the cursor: the index with which the stream goes on behind this frame
    end      True in the last frame of a stream that ends
    error    one sentence, in place of samples, and `kind`, the class of the error

A frame without samples says that the connection lives. Bytes are bounded before they are read, and
before they are unpacked; nothing in a frame is code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import msgpack
import numcodecs
import numcodecs.blosc
import numpy as np

from nanostream.errors import StoreError
from nanostream.formats.codec import MAX_FIELD_BYTES, parse_json
from nanostream.formats.zarr_table import COLUMN_TYPES, tables
from nanostream.sample import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy.typing as npt

    from nanostream.formats.encoded import Encoded

__all__ = ["MAX_FRAME_BYTES", "frame", "read_frame", "sample_of", "sample_of_fields"]

MAX_FRAME_BYTES = 2**28
"""No frame is larger."""

_LENGTH_BYTES = 4
_BLOSC_HEADER_BYTES = 16
_ROW_BYTES = sum(kind.itemsize for kind in COLUMN_TYPES.values())


def frame(samples: Iterable[Encoded] = (), **more: Any) -> bytes:
    """Samples in the format "zarr", and what else the frame says. Raises StoreError if it is too large."""
    ones = [{"seed": one.seed, "index": one.index, "shape": list(one.shape), **one.fields} for one in samples]
    body = msgpack.packb({"samples": ones, **more}, use_bin_type=True)
    assert body is not None
    if len(body) > MAX_FRAME_BYTES:
        msg = f"expected a frame of at most {MAX_FRAME_BYTES} bytes, got {len(body)}: ask for fewer samples a frame"
        raise StoreError(msg)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


def read_frame(read: Callable[[int], bytes]) -> dict[str, Any] | None:
    """The next frame; None where the stream ends before it.

    read: gives as many bytes as asked for, fewer only at the end. Raises StoreError for anything that is no
    frame, or one that is cut off.
    """
    length = read(_LENGTH_BYTES)
    if not length:
        return None
    size = int.from_bytes(length, "big")
    if len(length) < _LENGTH_BYTES or size > MAX_FRAME_BYTES:
        _damaged(f"a length of at most {MAX_FRAME_BYTES}", f"{size} in {len(length)} bytes")
    body = read(size)
    if len(body) < size:
        _damaged(f"a frame of {size} bytes", f"the end after {len(body)}")
    try:
        value = msgpack.unpackb(body, raw=False)
    # msgpack tells damage by ValueError and its kin, and by what the types in a map raise.
    except Exception as error:  # noqa: BLE001
        _damaged("msgpack", str(error) or type(error).__name__)
    if not isinstance(value, dict) or not isinstance(value.get("samples"), list):
        _damaged("a map with samples", type(value).__name__)
    return value


def sample_of(one: Any) -> Sample:
    """The sample of a frame's entry: the same digest as what was sent. Raises StoreError for anything else."""
    shape: Any = one.get("shape") if isinstance(one, dict) else None
    fits = isinstance(shape, list) and [type(edge) for edge in shape] == [int, int] and min(shape) > 0
    if not fits or 2 * shape[0] * shape[1] > MAX_FIELD_BYTES:
        _damaged("a sample with the shape of its picture", repr(shape))
    wanted = {"seed": int, "index": int, "image": bytes, "mask": bytes, "particles": bytes, "json": bytes}
    for name, kind in wanted.items():
        if type(one.get(name)) is not kind:
            _damaged(f"{name} of type {kind.__name__} in a sample", type(one.get(name)).__name__)
    return sample_of_fields(one, seed=one["seed"], index=one["index"], shape=(shape[0], shape[1]))


def sample_of_fields(fields: dict[str, bytes], *, seed: int, index: int, shape: tuple[int, int]) -> Sample:
    """The sample of the fields that `zarr.encode` gave. Raises StoreError where one is damaged."""
    image = _unpacked(fields["image"], shape, np.dtype("uint8"))
    mask = _unpacked(fields["mask"], shape, np.dtype("<u2")).astype(np.uint16, copy=False)
    meta = parse_json(fields["json"], f"the metadata of sample {index}")
    if "particles" not in meta:
        count, left = divmod(len(fields["particles"]), _ROW_BYTES)
        if left:
            _damaged(f"rows of {_ROW_BYTES} bytes", f"{len(fields['particles'])} bytes of particles")
        (columns,) = tables(np.array([count]), fields["particles"])
        meta["particles"] = {name: column.tolist() for name, column in columns.items()}
    if (meta.get("seed"), meta.get("index")) != (seed, index):
        _damaged(f"seed {seed} and index {index} in the metadata", f"{meta.get('seed')!r} and {meta.get('index')!r}")
    return Sample(seed=seed, index=index, image=image, mask=mask, meta=meta)


def _unpacked(chunk: bytes, shape: tuple[int, int], kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """The values of a chunk that `zarr_table.packed` gave."""
    values = np.empty(shape, kind)
    try:
        content = np.asarray(numcodecs.CRC32C(location="end").decode(chunk)).tobytes()
        # The size stands in Blosc's header: a chunk that would unpack to more is refused unopened.
        if len(content) < _BLOSC_HEADER_BYTES or int.from_bytes(content[4:8], "little") != values.nbytes:
            _damaged(f"a chunk of {values.nbytes} bytes", f"{len(chunk)} packed bytes")
        numcodecs.Blosc().decode(content, out=values)
    except StoreError:
        raise
    # The codecs raise RuntimeError, ValueError, TypeError and more for a few wrong bytes.
    except Exception as error:  # noqa: BLE001
        _damaged(f"a chunk of {values.nbytes} bytes", f"one that cannot be read ({error})")
    return values


def _damaged(expected: str, got: str) -> NoReturn:
    msg = f"what came over the connection is damaged: expected {expected}, got {got}; ask for it again"
    raise StoreError(msg) from None
