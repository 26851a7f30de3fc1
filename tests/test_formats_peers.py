"""MosaicML streaming and litData read a converted set: in an environment of their own, where one is named."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from nanostream.export import export
from nanostream.testing import FakeRecipe, FakeSynth

if TYPE_CHECKING:
    import pathlib

_RECIPE = FakeRecipe(height=48, width=40)
_COUNT, _SEED = 20, 5


@pytest.mark.peers
def test_converted_sets_hold_the_streams_pixels(repository: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Both libraries read index, image and 16-bit mask of every sample as they were rendered."""
    python = os.environ.get("NANOSTREAM_PEER_PYTHON")
    if not python:
        pytest.skip(
            "MosaicML streaming and litData bring torchvision and its CUDA: make an environment as "
            "benchmarks/peers_converted.py says, and set NANOSTREAM_PEER_PYTHON to its python"
        )
    export(
        _RECIPE,
        format="webdataset",
        count=_COUNT,
        seed=_SEED,
        out=tmp_path / "set",
        shard_size=8,
        synth=FakeSynth,
    )
    command = [
        python,
        repository / "benchmarks" / "peers_converted.py",
        tmp_path / "set",
        tmp_path / "out",
        "--passes=1",
    ]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    expected = []
    for index in range(_COUNT):
        one = FakeSynth(_RECIPE).render(seed=_SEED, index=index)
        pixels = b"%d" % index + one.image.tobytes() + one.mask.astype("<u2").tobytes()
        expected.append(hashlib.sha256(pixels).hexdigest())
    found = json.loads(done.stdout)["pixels"]
    assert sorted(found) == ["MosaicML MDS", "MosaicML MDS, zstd", "litData"]
    for name, digests in found.items():
        assert digests == expected, name
