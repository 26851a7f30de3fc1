"""What cannot work is refused in one sentence, before anything is rendered."""

from __future__ import annotations

import pathlib
import shutil
from typing import NamedTuple

import pytest
import ray

from nanostream.errors import StreamError
from nanostream.stream import cluster
from nanostream.stream.ray import RayEngine
from nanostream.testing import FakeRecipe

FAKE = "nanostream.testing:FakeSynth"


class Usage(NamedTuple):
    """What shutil.disk_usage returns."""

    total: int
    used: int
    free: int


def one_sentence(error: BaseException) -> bool:
    text = str(error)
    return text.startswith("expected ") and "\n" not in text and len(text) < 700


def test_little_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little room in /dev/shm is said before Ray is started, with what to do."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(64 << 20, 0, 64 << 20))
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray was started"))
    with pytest.raises(StreamError, match=r"100 MiB free in /dev/shm.*got 64 MiB.*--shm-size") as raised:
        RayEngine(FakeRecipe(), synth=FAKE)
    assert one_sentence(raised.value)


@pytest.mark.parametrize(
    "reason",
    [
        "Version mismatch: The cluster was started with:\n    Ray: 2.40.0\n    Python: 3.11.7\nThis process: 2.60.0",
        "InvalidAuthToken: Token authentication is enabled but no token was found.\nSet RAY_AUTH_TOKEN.",
        "Could not find any running Ray instance",
    ],
)
def test_clusters_that_let_nobody_in(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    """A cluster of another version, one that wants a token, and none at all: one sentence with the address."""

    def refuse(**_: object) -> None:
        raise RuntimeError(reason)

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(StreamError, match=r"cluster at '10\.0\.0\.1:6379'.*version there, and the token") as raised:
        RayEngine(FakeRecipe(), address="10.0.0.1:6379", synth=FAKE)
    assert one_sentence(raised.value)
    assert cluster._current is None


def test_ray_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Ray finds no port or cannot start, that is one sentence, and no folder and no process stay."""
    folders = []

    def refuse(**settings: object) -> None:
        folders.append(settings["_temp_dir"])
        msg = "no free port\nin the range"
        raise OSError(msg)

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(StreamError, match=r"Ray to start on this machine.*no free port.*engine='local'") as raised:
        RayEngine(FakeRecipe(), synth=FAKE)
    assert one_sentence(raised.value)
    assert folders
    assert not pathlib.Path(str(folders[0])).exists()
