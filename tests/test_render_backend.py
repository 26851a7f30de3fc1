"""Which LLVM renders, and what a machine without one is told."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from nanostream.errors import BackendError
from nanostream.render import backend


def test_an_llvm_is_found_without_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no variable set, a library that Dr.Jit can use is found in this environment."""
    monkeypatch.delenv("DRJIT_LIBLLVM_PATH", raising=False)
    llvm = backend.find_llvm()
    assert llvm is not None
    assert llvm.version >= backend.MIN_LLVM
    assert llvm.path.exists()


@pytest.mark.parametrize("path", ["/nowhere/libLLVM.so", __file__])
def test_no_usable_llvm_says_what_to_install(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """A library that is absent or none at all raises BackendError with the remedy, before Mitsuba is imported."""
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", path)
    monkeypatch.delenv("NANOSTREAM_BACKEND", raising=False)
    with pytest.raises(BackendError, match="pip install karellen-llvm-core"):
        backend.choose()


def test_unknown_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """NANOSTREAM_BACKEND must name a backend that is there."""
    monkeypatch.setenv("NANOSTREAM_BACKEND", "abacus")
    with pytest.raises(BackendError, match="cuda, llvm, got 'abacus'"):
        backend.choose()


@pytest.mark.parametrize(
    ("cards", "optix", "visible", "chosen"),
    [
        (1, True, None, "cuda_ad_mono"),
        (1, True, "0", "cuda_ad_mono"),
        (1, True, "", "llvm_ad_mono"),
        (1, False, None, "llvm_ad_mono"),
        (0, True, None, "llvm_ad_mono"),
    ],
)
def test_a_card_that_traces_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
    cards: int,
    optix: bool,  # noqa: FBT001 - a parameter of the test
    visible: str | None,
    chosen: str,
) -> None:
    """CUDA is taken where a card is visible and OptiX loads, LLVM elsewhere."""
    for number in range(cards):
        (tmp_path / str(number)).mkdir()
    monkeypatch.setattr(backend, "_CARDS", tmp_path)
    monkeypatch.delenv("NANOSTREAM_BACKEND", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    load = backend.ctypes.CDLL

    def library(name: str) -> object:
        if "optix" not in name:
            return load(name)
        if not optix:
            raise OSError
        return None

    monkeypatch.setattr(backend.ctypes, "CDLL", library)
    assert backend.choose() == chosen


def test_an_old_llvm_taken_by_someone_else_is_an_error_and_no_abort() -> None:
    """Where Dr.Jit was imported first and took an LLVM that is too old, rendering raises and does not end Python."""
    old = [path for path in pathlib.Path("/usr/lib").glob("*-linux-gnu/libLLVM-1[0-6].so*") if path.exists()]
    if not old:
        pytest.skip("no LLVM older than 17 is on this machine")
    code = "import drjit.llvm; from nanostream.render import backend; backend.start()"
    environment = {**os.environ, "DRJIT_LIBLLVM_PATH": str(old[0])}
    script = f"import drjit, os; del os.environ['DRJIT_LIBLLVM_PATH']; {code}"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1
    assert "BackendError: expected LLVM 17 or newer" in done.stderr
