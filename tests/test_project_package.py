"""The package as a whole: what importing it does, what it exports, what it needs."""

from __future__ import annotations

import ast
import itertools
import pathlib
import re
import subprocess
import sys
import tomllib
from typing import TypeGuard

import pytest

import nanostream

_HEAVY = ("torch", "ray", "mitsuba", "drjit", "monai", "zarr", "webdataset")


_ROOT = pathlib.Path(__file__).resolve().parent.parent


def _modules() -> list[str]:
    paths = (path.relative_to(_ROOT).with_suffix("") for path in (_ROOT / "nanostream").rglob("*.py"))
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in paths)


def _run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_loads_nothing_heavy() -> None:
    """`import nanostream` loads no torch, Ray, Mitsuba or other heavy library, and no numpy."""
    loaded = _run("import sys, nanostream; print(*sys.modules)").split()
    assert not {*_HEAVY, "numpy"} & set(loaded)


@pytest.mark.parametrize("module", _modules())
def test_all_is_complete(module: str) -> None:
    """`__all__` holds every public class and function of a module; that it is sorted is ruff's rule RUF022."""
    path = _ROOT.joinpath(*module.split("."))
    tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8"))
    exported = next((ast.literal_eval(node.value) for node in tree.body if _assigns_all(node)), [])
    defined = {
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
    }
    assert defined <= set(exported)
    assert len(set(exported)) == len(exported)


def _assigns_all(node: ast.stmt) -> TypeGuard[ast.Assign]:
    return isinstance(node, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
    )


@pytest.mark.parametrize("name", nanostream.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    """Each name in the package's `__all__` can be had from it."""
    assert getattr(nanostream, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A name that the package does not have raises AttributeError."""
    with pytest.raises(AttributeError, match="nothing_like_it"):
        nanostream.nothing_like_it  # noqa: B018 - the access is the test


def test_render_stays_the_function() -> None:
    """`ns.render` is the function even after parts of the renderer were imported by name."""
    code = (
        "import nanostream as ns, nanostream.render.backend\n"
        "from nanostream.render import backend\n"
        "print(type(ns.render).__name__, backend.__name__)"
    )
    assert _run(code).split() == ["function", "nanostream.render.backend"]


def test_every_module_imports_and_says_what_it_is() -> None:
    """Each module imports without a renderer or a cluster, and opens with a docstring."""
    code = (
        "import importlib\n"
        f"for name in {_modules()!r}:\n"
        "    if not (importlib.import_module(name).__doc__ or '').strip(): print(name)"
    )
    assert not _run(code)


def test_requirements_are_what_is_imported(repository: pathlib.Path) -> None:
    """Each library that the package imports is a requirement, or one of its gateway, and each of them is imported."""
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["gateway"]]
    # A library that Dr.Jit loads, and two that uvicorn does.
    required = {_distribution(line) for line in lines} - {"karellen-llvm-core", "httptools", "uvloop"}
    renamed = {"PIL": "pillow", "skimage": "scikit-image", "prometheus_client": "prometheus-client"}
    imported = {
        renamed.get(name, name)
        for path in (repository / "nanostream").rglob("*.py")
        for name in _imported(path)
        if name not in sys.stdlib_module_names and name != "nanostream"
    }
    assert imported == required


def _distribution(requirement: str) -> str:
    return re.split(r"[<>=;\[ ]", requirement, maxsplit=1)[0]


def _imported(path: pathlib.Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").partition(".")[0])
    return names


def test_constraints_pin_every_requirement(repository: pathlib.Path) -> None:
    """constraints.txt pins one version of each requirement, and nothing of CUDA."""
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9.-]+==[^ ]+( ; .+)?", pin) for pin in pins)
    names = {_distribution(pin) for pin in pins}
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = itertools.chain.from_iterable(project["optional-dependencies"].values())
    wanted = {_distribution(line) for line in [*project["dependencies"], *extras]}
    assert wanted - {"nanostream"} <= names
    assert not [name for name in names if name.startswith(("nvidia", "triton", "cuda"))]


def test_the_oldest_versions_are_the_lower_bounds(repository: pathlib.Path) -> None:
    """constraints-min.txt has each lower bound; of torch, whose old builds bring CUDA, a newer version."""
    lines = (repository / "constraints-min.txt").read_text(encoding="utf-8").splitlines()
    pins = {_distribution(line): line.partition(";")[0].strip() for line in lines if not line.startswith("#")}
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["gateway"]]
    lowest = {
        _distribution(line): re.sub(r"(>=|==)([0-9.]+).*", r"==\2", line.partition(";")[0].strip()) for line in required
    }
    assert pins == lowest | {"torch": "torch==2.13.0"}


def test_tests_say_what_holds(repository: pathlib.Path) -> None:
    """Every test has a docstring."""
    silent = [
        f"{path.name}:{node.name}"
        for path in sorted((repository / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert not silent
