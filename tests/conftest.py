"""Fixtures that every area of the tests shares."""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

# Tests measure what holds, not how fast: the machine may be shared, and examples may be slow.
hypothesis.settings.register_profile("nanostream", deadline=None, print_blob=True)
hypothesis.settings.load_profile("nanostream")

_ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> pathlib.Path:
    """Folder that holds pyproject.toml."""
    return _ROOT


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """Folder of published data sets, beside the repository or named by NANOSTREAM_SHARED_DATA."""
    folder = pathlib.Path(os.environ.get("NANOSTREAM_SHARED_DATA", _ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the published data sets are not on this machine ({folder})")
    return folder


@pytest.fixture(scope="module")
def own_ray(request: pytest.FixtureRequest) -> Iterator[None]:
    """A Ray that only one module's tests use, with RAY_CPUS of the module, or 4: more than there may be."""
    import ray

    # Not under pytest's own folders: the paths of Ray's sockets must be short.
    folder = tempfile.mkdtemp(prefix="ns-test-", dir="/tmp")
    ray.init(
        address="local",
        num_cpus=getattr(request.module, "RAY_CPUS", 4),
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=200 << 20,
        _temp_dir=folder,
    )
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
