"""The README does what it says: its code runs, its commands parse, its links lead somewhere."""

from __future__ import annotations

import pathlib
import re
import shlex
import subprocess
import sys
import tomllib

import pytest

from nanostream.cli import app

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_PAGES = ["README.md", "benchmarks/README.md", "deploy/README.md", ".github/CONTRIBUTING.md", ".github/SECURITY.md"]


def _text(page: str) -> str:
    return (_ROOT / page).read_text(encoding="utf-8")


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", _text(page), re.DOTALL | re.MULTILINE)


def _commands() -> list[str]:
    shell = [line.split("#")[0] for page in _PAGES for block in _blocks(page, "sh") for line in block.splitlines()]
    parts = [part.strip() for line in shell for part in line.split("&&")]
    inline = [code for page in _PAGES for code in re.findall(r"`([^`\n]+)`", _text(page))]
    return sorted({part for part in [*parts, *inline] if part.startswith("nanostream ")})


@pytest.mark.slow
def test_code_runs(tmp_path: pathlib.Path) -> None:
    """The README's Python runs as it stands."""
    blocks = _blocks("README.md", "python")
    assert blocks
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", _commands())
def test_commands_parse(command: str) -> None:
    """Every command that a page shows has the options that it shows."""
    assert app.parse(shlex.split(command)[1:])


def test_every_command_is_shown() -> None:
    """The README's table has a line for each command."""
    shown = {command.split()[1] for command in _commands()}
    assert shown >= set(app.COMMANDS)


def test_the_test_command_is_what_runs_elsewhere() -> None:
    """The README's test command is the one that .ci/run runs."""
    block = next(block.strip() for block in _blocks("README.md", "sh") if "pytest" in block)
    assert block in _text(".ci/run").splitlines()


@pytest.mark.parametrize("page", _PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link of a page is a file or folder of the repository."""
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", _text(page)) if "://" not in link]
    assert [link for link in links if not (_ROOT / page).parent.joinpath(link).exists()] == []


def test_the_versions_agree() -> None:
    """The package's version has a heading in CHANGELOG.md, and the script is the command line's main."""
    import nanostream

    assert f"## {nanostream.__version__}" in _text("CHANGELOG.md")
    assert tomllib.loads(_text("pyproject.toml"))["project"]["scripts"] == {"nanostream": "nanostream.cli:main"}
