"""What is released: a wheel and a source archive that install and run outside the checkout, and the papers to cite."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest
import yaml

import nanostream

RUNS = (
    "import sys, nanostream; print(nanostream.__file__); from nanostream.cli import main; sys.exit(main(sys.argv[1:]))"
)


def _build(source: pathlib.Path, out: pathlib.Path) -> set[pathlib.Path]:
    words = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    done = subprocess.run(words, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(out.iterdir())


@pytest.fixture(scope="module")
def released(repository: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, pathlib.Path]:
    """Source archive and wheel of the checkout."""
    archive, wheel = sorted(_build(repository, tmp_path_factory.mktemp("released")), key=lambda file: file.suffix)
    return archive, wheel


def _content(wheel: pathlib.Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_the_wheel_holds_the_package(released: tuple[pathlib.Path, pathlib.Path], repository: pathlib.Path) -> None:
    """Every file of the package, the data and the mark of its types included, is in the wheel as it is."""
    content = _content(released[1])
    files = {
        str(path.relative_to(repository)): path.read_bytes()
        for path in (repository / "nanostream").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "nanostream/py.typed" in files
    assert {name: data for name, data in content.items() if not re.match(r"nanostream-[^/]*dist-info/", name)} == files


def test_the_archive_builds_the_same_wheel(released: tuple[pathlib.Path, pathlib.Path], tmp_path: pathlib.Path) -> None:
    """What is built from the source archive is what is built from the checkout."""
    archive, wheel = released
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    again = next(file for file in _build(source, tmp_path / "out") if file.suffix == ".whl")
    assert _content(again) == _content(wheel)


@pytest.mark.slow
def test_the_wheel_runs_outside_the_checkout(
    released: tuple[pathlib.Path, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    """Installed elsewhere it renders a sample of a preset, from its own files."""
    target, sheet = tmp_path / "installed", tmp_path / "sheet.png"
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(released[1])]
    subprocess.run(words, check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-c", RUNS, "preview", "tio2-sem", "-n", "1", "-o", str(sheet)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert pathlib.Path(done.stdout.splitlines()[0]).is_relative_to(target)
    assert sheet.stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_other_pythons_run_the_wheel(
    version: str, released: tuple[pathlib.Path, pathlib.Path], repository: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """In a fresh environment of each Python that is there, the wheel installs as pinned and renders."""
    python = shutil.which(f"python{version}")
    if version == ".".join(map(str, sys.version_info[:2])):
        pytest.skip("all other tests run on it")
    if python is None or subprocess.run([python, "--version"], check=False, capture_output=True).returncode:
        pytest.skip(f"there is no python{version} here")
    subprocess.run([python, "-m", "venv", str(tmp_path / "venv")], check=True)
    here = tmp_path / "venv" / "bin" / "python"
    words = [here, "-m", "pip", "install", "--quiet", "-c", repository / "constraints.txt", released[1]]
    subprocess.run(words, check=True)
    words = [here, "-c", RUNS, "preview", "tio2-sem", "-n", "1", "-o", tmp_path / "sheet.png"]
    subprocess.run(words, cwd=tmp_path, check=True)


def test_the_papers_are_cited(repository: pathlib.Path) -> None:
    """CITATION.cff names this version, and the papers that the README names."""
    citation = yaml.safe_load((repository / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == nanostream.__version__
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    readme = (repository / "README.md").read_text(encoding="utf-8")
    assert {paper["doi"] for paper in citation["references"]} == set(
        re.findall(r"doi:(10\.[^ \n]+?)\.?$", readme, re.MULTILINE)
    )


def test_extras_hold_what_they_say(repository: pathlib.Path) -> None:
    """`test` brings whatever is needed to open our files and to serve, and `dev` all of it."""
    extras = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    (brought,) = [line for line in extras["test"] if line.startswith("nanostream[")]
    assert {"gateway", "interop"} <= set(brought[len("nanostream[") : -1].split(","))
    assert "nanostream[test]" in extras["dev"]
    assert set(extras) == {"cluster", "dev", "gateway", "interop", "test"}


@pytest.mark.slow
def test_the_reference_site_builds(repository: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Every module has its page, made from its docstrings, and no link of it leads nowhere."""
    words = [sys.executable, repository / ".ci" / "site.py", tmp_path / "site"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "0 dead links" in done.stdout
    assert "StreamingDataset" in (tmp_path / "site" / "nanostream.html").read_text(encoding="utf-8")
    assert (tmp_path / "site" / "nanostream" / "render" / "shade.html").exists()
