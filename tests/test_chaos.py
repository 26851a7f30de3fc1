"""Whatever dies, freezes or changes, the stream is whole. The harness is benchmarks/chaos.py."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

TRIES = 3
"""What else the machine does can only lengthen a gap."""


@pytest.fixture(scope="module")
def harness(repository: pathlib.Path) -> Iterator[dict[str, Any]]:
    """The harness's functions by name: scripts, and no part of the package."""
    sys.path.insert(0, str(repository / "benchmarks"))
    names = ("chaos_row", "chaos_workers", "chaos_machines")
    functions: dict[str, Any] = {}
    for name in names:
        functions |= vars(importlib.import_module(name))
    yield functions
    sys.path.remove(str(repository / "benchmarks"))
    for name in names:
        del sys.modules[name]


@pytest.fixture(scope="module")
def rows(harness: dict[str, Any]) -> Iterator[list[Any]]:
    """What came out, for the table at the end."""
    yield (found := [])
    print("\n" + harness["table"](found))  # noqa: T201 - seen with pytest -s


@pytest.fixture(scope="class")
def one_ray(harness: dict[str, Any]) -> Iterator[None]:
    """A Ray with the smallest object store that it takes."""
    with harness["small_ray"]():
        yield


def check(row: Any, rows: list[Any]) -> Any:
    rows.append(row)
    assert row.same, row
    assert (row.missing, row.twice) == (0, 0), row
    return row


@pytest.mark.usefixtures("one_ray")
class TestInOneRay:
    """What its workers and its consumers suffer."""

    @pytest.mark.parametrize("disturbance", ["delays", "full_store", "cuts", "killed_keeper"])
    def test_what_changes_no_byte(self, disturbance: str, harness: dict[str, Any], rows: list[Any]) -> None:
        """Delays, a full object store, another world at each cut and a lost keeper change no byte of the stream."""
        assert check(harness[disturbance](seed=7), rows).end_seconds < 30

    @pytest.mark.parametrize(("disturbance", "seconds"), [("killed_workers", 1.5), ("frozen_worker", 0.5 + 0.1 + 0.5)])
    def test_killed_and_frozen_workers(
        self, disturbance: str, seconds: float, harness: dict[str, Any], rows: list[Any]
    ) -> None:
        """SIGKILL and SIGSTOP change no byte, and what they cost comes soon.

        Within 1.5 s of a kill, and of a freeze within half a second of patience, one look and half a second for a
        lease.
        """
        gaps = []
        while len(gaps) < TRIES and min(gaps, default=seconds) >= seconds:
            gaps.append(check(harness[disturbance](seed=7 + len(gaps)), rows).gap_seconds)
        assert min(gaps) < seconds, gaps


def test_killed_node(harness: dict[str, Any], rows: list[Any]) -> None:
    """A node that is killed with its workers costs their leases again and nothing else."""
    check(harness["killed_node"](seed=7), rows)


def test_killed_driver(harness: dict[str, Any], rows: list[Any]) -> None:
    """A training process killed twice goes on from its last state, and its Ray is gone within 90 s."""
    assert check(harness["killed_driver"](seed=7), rows).end_seconds < 90
