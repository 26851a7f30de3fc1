"""Style, types and the direction of imports, checked by the tools that pyproject.toml configures."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import pathlib


def _tool(name: str) -> str:
    found = shutil.which(name, path=sysconfig.get_path("scripts"))
    if found is None:
        pytest.skip(f"{name} is not installed: pip install -e .[test]")
    return found


def _complaints(command: list[str], folder: pathlib.Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_imports_go_one_way(repository: pathlib.Path) -> None:
    """Each part imports only from those before it; Ray and Mitsuba stay where they belong."""
    assert not _complaints([_tool("lint-imports"), "--no-cache"], repository)


def test_style(repository: pathlib.Path) -> None:
    """Ruff has nothing to say, with every rule on but the exceptions that pyproject.toml explains."""
    assert not _complaints([_tool("ruff"), "check", "--no-cache", "--output-format=concise"], repository)


def test_format(repository: pathlib.Path) -> None:
    """Every file is as ruff formats it."""
    assert not _complaints([_tool("ruff"), "format", "--no-cache", "--check"], repository)


@pytest.mark.slow
def test_types(repository: pathlib.Path) -> None:
    """Pyright finds no error."""
    assert not _complaints([_tool("basedpyright"), "--pythonpath", sys.executable, "--level", "error"], repository)
