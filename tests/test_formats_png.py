"""PNG pictures that everybody opens."""

from __future__ import annotations

import io

import hypothesis
import hypothesis.extra.numpy as hnp
import numpy as np
from PIL import Image

from nanostream.formats.png import encode_png


@hypothesis.given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_pillow_reads_every_grey_level(picture: np.ndarray) -> None:
    """Any picture comes back from Pillow as it was, checksums sound, in 8-bit grey."""
    data = encode_png(picture)
    Image.open(io.BytesIO(data)).verify()
    read = Image.open(io.BytesIO(data))
    assert read.mode == "L"
    assert np.array_equal(np.asarray(read), picture)


def test_memory_order_changes_nothing() -> None:
    """A picture gives the same bytes however it lies in memory."""
    picture = np.random.default_rng(1).integers(0, 256, (61, 47), dtype=np.uint8)
    assert encode_png(np.asfortranarray(picture)) == encode_png(picture) == encode_png(picture[::-1][::-1])


def test_noise_costs_less_than_pillow_takes() -> None:
    """Noise on a smooth ground takes no more bytes than Pillow's own PNG of it."""
    rng = np.random.default_rng(2)
    rows, columns = np.mgrid[:128, :128]
    picture = (90 + 40 * np.sin(rows / 20) * np.cos(columns / 30) + rng.normal(0, 6, (128, 128))).astype(np.uint8)
    theirs = io.BytesIO()
    Image.fromarray(picture).save(theirs, "PNG")
    assert len(encode_png(picture)) < len(theirs.getvalue())
