"""Whatever dies, freezes or changes, the stream is whole. The harness is benchmarks/chaos.py."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chaos(repository: pathlib.Path) -> Iterator[Any]:
    """The harness, which is a script and no part of the package."""
    specification = importlib.util.spec_from_file_location("nanostream_chaos", repository / "benchmarks" / "chaos.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[module.__name__] = module
    specification.loader.exec_module(module)
    yield module
    del sys.modules[module.__name__]


@pytest.fixture(scope="module")
def rows() -> Iterator[list[Any]]:
    """What came out, for the table at the end."""
    yield (found := [])
    print("\n" + sys.modules["nanostream_chaos"].table(found))  # noqa: T201 - seen with pytest -s


def check(row: Any, rows: list[Any]) -> None:
    rows.append(row)
    assert row.same, row
    assert (row.missing, row.twice) == (0, 0), row


def test_killed_and_frozen_workers_delays_and_a_full_store(chaos: Any, rows: list[Any]) -> None:
    """SIGKILL, SIGSTOP, delays, a full object store and new worlds at each cut change no byte of the stream.

    What is lost comes again within the bounds: 1.5 s for a killed worker, and for a frozen one half
    a second of patience and a lease; on a busy machine a little more.
    """
    with chaos.small_ray():
        for disturbance in chaos.IN_ONE_RAY:
            row = disturbance(seed=7)
            check(row, rows)
            assert row.end_seconds < 30
            if disturbance in (chaos.killed_workers, chaos.frozen_worker):
                assert row.gap_seconds < 1.5


def test_killed_node(chaos: Any, rows: list[Any]) -> None:
    """A node that is killed with its workers costs their leases again and nothing else."""
    check(chaos.killed_node(seed=7), rows)


def test_killed_driver(chaos: Any, rows: list[Any]) -> None:
    """A training process killed twice goes on from its last state, and its Ray is gone within 90 s."""
    row = chaos.killed_driver(seed=7)
    check(row, rows)
    assert row.end_seconds < 90
