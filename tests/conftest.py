"""Fixtures that every area of the tests shares."""

from __future__ import annotations

import os
import pathlib

import hypothesis
import pytest

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
