"""Ratios that must not get worse: each as it is now, beside the committed one and its margin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from benchmark_scripts import script

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

SLOW = ("general_over_own", "order_over_bare_loop")
QUICK = (
    "webdataset_encoding_over_rendering",
    "zarr_encoding_over_rendering",
    "webdataset_over_reader",
    "zarr_over_reader",
    "raw_over_stored",
    "engine_efficiency",
    "losses_efficiency",
)


@pytest.fixture(scope="module")
def guard(repository: pathlib.Path) -> Iterator[Any]:
    """The script as a module."""
    with script(repository, "guard") as module:
        yield module
        module.rendered.cache_clear()


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_no_ratio_is_worse(guard: Any, name: str) -> None:
    """What is compared in one run is within its margin of what is committed."""
    kept = guard.read()[name]
    now, holds = guard.check(name, kept)
    assert holds, f"{kept.what}: {now:.3g}, committed {kept.ratio:.3g}, bound {kept.bound:.3g}"


def test_every_ratio_is_guarded(guard: Any) -> None:
    """The committed ratios are those that are measured and tested, each with a margin of less than itself."""
    kept = guard.read()
    assert set(kept) == set(guard.RATIOS) == {*SLOW, *QUICK}
    assert all(0 < one.margin < 1 and one.ratio > 0 for one in kept.values())


def test_a_worse_ratio_is_found(guard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One past its margin fails after three tries, on the side on which it is worse; a lucky one passes."""
    for higher, worse, fine in ((True, 0.79, 0.81), (False, 1.21, 1.19)):
        kept = guard.Kept(what="x", ratio=1.0, margin=0.2, higher=higher)
        said = []
        monkeypatch.setitem(guard.RATIOS, "x", lambda said=said, worse=worse: said.append(0) or worse)
        assert guard.check("x", kept) == (worse, False)
        assert len(said) == 3
        monkeypatch.setitem(guard.RATIOS, "x", lambda fine=fine: fine)
        assert guard.check("x", kept) == (fine, True)
