"""A sample as bytes and back."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import zlib
from typing import Any

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image

from nanostream.errors import StoreError
from nanostream.formats import codec
from nanostream.sample import PARTICLE_COLUMNS, Sample
from nanostream.seeding import MAX_INDEX, Purpose, generator

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def samples(draw: Any) -> Sample:
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))
    image = draw(hnp.arrays(np.uint8, shape))
    mask = draw(hnp.arrays(np.uint16, shape, elements=st.sampled_from([0, 1, 255, 256, 300, 40_000, 65_535])))
    seed, index = draw(st.integers(0, MAX_INDEX)), draw(st.integers(0, MAX_INDEX))
    extra = draw(st.dictionaries(st.text(max_size=5), _JSON, max_size=3))
    meta = {**extra, "seed": seed, "index": index, "particles": draw(st.dictionaries(st.text(max_size=5), _JSON))}
    return Sample(seed=seed, index=index, image=image, mask=mask, meta=meta)


def sample(index: int = 7) -> Sample:
    rng = generator(3, index, Purpose.SCENE)
    particles = {name: [1.5, 2.5] for name in PARTICLE_COLUMNS}
    return Sample(
        seed=3,
        index=index,
        image=rng.integers(0, 256, (32, 48), dtype=np.uint8),
        mask=rng.choice(np.array([0, 300, 40_000], np.uint16), (32, 48)),
        meta={"seed": 3, "index": index, "particles": particles},
    )


@hypothesis.given(samples())
def test_round_trip_keeps_every_bit(one: Sample) -> None:
    """Whatever image, labels up to 65535 and metadata: the decoded sample has the same digest."""
    again = codec.decode(codec.encode(one))
    assert again.digest() == one.digest()
    assert (again.seed, again.index) == (one.seed, one.index)
    assert (again.image.dtype, again.mask.dtype) == (np.uint8, np.uint16)
    assert again.image.flags.writeable
    assert again.mask.flags.writeable


def test_bytes_are_stable() -> None:
    """The same sample gives the same bytes, from arrays of any memory order."""
    one = sample()
    turned = Sample(
        seed=one.seed,
        index=one.index,
        image=np.asfortranarray(one.image),
        mask=np.asfortranarray(one.mask),
        meta=dict(reversed(one.meta.items())),
    )
    assert codec.encode(one) == codec.encode(one) == codec.encode(turned)
    assert tuple(codec.encode(one)) == codec.FIELDS


def test_gzip_header_names_no_file_and_no_time() -> None:
    """The mask's gzip header holds neither a time nor a name, under every Python."""
    assert codec.encode(sample())["mask.npy.gz"][:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


def test_fields_open_with_other_tools() -> None:
    """Pillow, gzip with numpy, and json read the fields as they are."""
    one = sample()
    fields = codec.encode(one)
    assert (np.asarray(Image.open(io.BytesIO(fields["image.png"]))) == one.image).all()
    assert (np.load(io.BytesIO(gzip.decompress(fields["mask.npy.gz"]))) == one.mask).all()
    assert json.loads(fields["meta.json"]) == one.meta


@pytest.mark.parametrize("field", codec.FIELDS)
def test_missing_field_is_named(field: str) -> None:
    """A missing field is a StoreError that names it and the sample."""
    fields = codec.encode(sample())
    del fields[field]
    with pytest.raises(StoreError, match=f"in sample 7.*{field} is missing"):
        codec.decode(fields, name="sample 7")


@pytest.mark.parametrize("field", codec.FIELDS)
def test_cut_field_is_named(field: str) -> None:
    """A field whose payload is cut off is a StoreError that names it."""
    fields = codec.encode(sample())
    whole = fields[field]
    for length in {0, 1, 7, len(whole) // 2, len(whole) * 3 // 4}:
        with pytest.raises(StoreError, match=f"{field} of sample is damaged"):
            codec.decode({**fields, field: whole[:length]})


@hypothesis.given(st.sampled_from(codec.FIELDS), st.integers(0), st.integers(1, 255))
def test_flipped_byte_raises_nothing_else(field: str, place: int, flip: int) -> None:
    """A flipped byte gives a sample or a StoreError, and never another exception."""
    fields = codec.encode(sample())
    damaged = bytearray(fields[field])
    damaged[place % len(damaged)] ^= flip
    try:
        codec.decode({**fields, field: bytes(damaged)})
    except StoreError as error:
        assert field in str(error)  # noqa: PT017 no error is right as well


class _Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("a pickle was loaded",)


def test_pickled_objects_are_refused() -> None:
    """An npy file with pickled objects is a StoreError, and nothing in it runs."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.array([[_Bomb()]], dtype=object), allow_pickle=True)
    for payload in (stream.getvalue(), pickle.dumps(_Bomb())):
        with pytest.raises(StoreError, match=r"mask\.npy\.gz"):
            codec.decode({**codec.encode(sample()), "mask.npy.gz": gzip.compress(payload)})


def test_gzip_bomb_is_refused() -> None:
    """A mask that would unpack to more than the picture's pixels is refused before it does."""
    bomb = gzip.compress(bytes(2**26))
    with pytest.raises(StoreError, match="a whole gzip stream of at most"):
        codec.decode({**codec.encode(sample()), "mask.npy.gz": bomb})


def test_huge_picture_is_refused() -> None:
    """A PNG header that claims 2^31 pixels in a side is refused before memory is taken."""
    fields = codec.encode(sample())
    png = bytearray(fields["image.png"])
    png[16:24] = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    with pytest.raises(StoreError, match=r"image\.png"):
        codec.decode({**fields, "image.png": bytes(png)})


@pytest.mark.parametrize(
    "text", [b"[]", b"{", b'{"seed":3}', b'{"seed":3,"index":"7"}', b'{"seed":NaN,"index":1}', b"[" * 100_000, b"\xff"]
)
def test_wrong_metadata_is_named(text: bytes) -> None:
    """Metadata that is no JSON object with seed and index is a StoreError."""
    with pytest.raises(StoreError, match=r"meta\.json of sample is damaged"):
        codec.decode({**codec.encode(sample()), "meta.json": text})


def test_mask_of_another_size_is_refused() -> None:
    """A mask that does not fit its image is a StoreError."""
    small = sample()
    small = Sample(seed=3, index=7, image=small.image[:8, :8], mask=small.mask[:8, :8], meta=small.meta)
    with pytest.raises(StoreError, match="expected uint16 labels of shape"):
        codec.decode({**codec.encode(sample()), "mask.npy.gz": codec.encode(small)["mask.npy.gz"]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((2, 2), np.uint16)}, "an image of shape"),
        ({"image": np.zeros((2, 2, 1), np.uint8)}, "an image of shape"),
        ({"mask": np.zeros((32, 48), np.int32)}, "a mask of shape"),
        ({"mask": np.zeros((3, 2), np.uint16)}, "a mask of shape"),
        ({"meta": {"seed": 3, "index": 8, "particles": {}}}, "seed 3 and index 7"),
        ({"meta": {"seed": 3, "index": 7}}, "a dict 'particles'"),
        ({"meta": {"seed": 3, "index": 7, "particles": {"x": [float("nan")]}}}, "plain JSON"),
        ({"meta": {"seed": 3, "index": 7, "particles": {"x": [np.float32(1)]}}}, "plain JSON"),
    ],
)
def test_unfit_sample_is_refused(change: dict[str, Any], message: str) -> None:
    """What could not be read back as it was is refused when it is written."""
    one = sample()
    values = {name: getattr(one, name) for name in ("seed", "index", "image", "mask", "meta")}
    with pytest.raises(StoreError, match=message):
        codec.encode(Sample(**{**values, **change}))
