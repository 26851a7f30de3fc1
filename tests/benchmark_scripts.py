"""The scripts in benchmarks/ as modules, for tests of their tiny forms."""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator


@contextlib.contextmanager
def script(repository: pathlib.Path, name: str) -> Iterator[Any]:
    """One script, imported; what it imported from beside it is forgotten again, so that no name stays taken."""
    folder = str(repository / "benchmarks")
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(folder)
        for new in set(sys.modules) - before:
            if str(getattr(sys.modules[new], "__file__", "")).startswith(folder):
                del sys.modules[new]
