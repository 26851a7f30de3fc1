"""The command line: help, defaults, exit codes, and errors of one sentence."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

import nanostream
from nanostream import errors
from nanostream.cli import app as cli
from nanostream.recipe import PIXELS_VERSION

if TYPE_CHECKING:
    import pathlib


def _exit_code(words: list[str]) -> int:
    try:
        return cli.main(words)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`nanostream --help`, and `nanostream` alone, list every command and exit with 0."""
    for words in ([], ["--help"]):
        assert _exit_code(words) == 0
        shown = capsys.readouterr().out
        assert all(command in shown for command in cli.COMMANDS)


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_help_of_a_command_lists_its_options_with_defaults(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command explains every option, and its default unless it is required."""
    assert _exit_code([command, "--help"]) == 0
    shown = capsys.readouterr().out
    for field in dataclasses.fields(cli.command(command)):
        if "Positional" in str(field.type):
            assert "positional arguments" in shown
        elif field.name == "settings" and field.default == ():
            assert "--set" in shown
        elif field.default is not dataclasses.MISSING:
            assert f"--{field.name.replace('_', '-')}" in shown
    assert "default" in shown or all(
        field.default is dataclasses.MISSING for field in dataclasses.fields(cli.command(command))
    )


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_wrong_use_of_a_command_exits_with_2(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown option ends with code 2 and a message on stderr."""
    assert _exit_code([command, "--no-such-option"]) == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_options_are_frozen(command: str) -> None:
    """Each command is a frozen dataclass with a docstring."""
    assert cli.command(command).__dataclass_params__.frozen
    assert cli.command(command).__doc__


def test_an_unknown_command_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown command ends with code 2 and says so on stderr."""
    assert _exit_code(["tango"]) == 2
    assert "tango" in capsys.readouterr().err


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`nanostream --version` prints name, version, and what decides the pixels; where nothing renders, why."""
    monkeypatch.delenv("NANOSTREAM_BACKEND", raising=False)
    assert _exit_code(["--version"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"nanostream {nanostream.__version__} (pixels {PIXELS_VERSION}, ")
    assert "_ad_mono, mitsuba 3." in said
    monkeypatch.setenv("NANOSTREAM_BACKEND", "abacus")
    assert _exit_code(["--version"]) == 0
    assert "no backend: expected NANOSTREAM_BACKEND" in capsys.readouterr().out


def test_a_shell_completes_commands_and_options(tmp_path: pathlib.Path) -> None:
    """With the script that the README names, Bash completes the names of commands and of their options."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    words = [sys.executable, "-c", "from nanostream.cli import main; main(['--tyro-print-completion', 'bash'])"]
    script = tmp_path / "completion.sh"
    script.write_text(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    for typed, completed in (("nanostream tr", "train"), ("nanostream train --min", "--minutes")):
        ask = (
            f"source {script}; COMP_WORDS=({typed}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE='{typed}'; "
            "COMP_POINT=${#COMP_LINE}; $(complete -p nanostream | sed 's/.*-F \\([^ ]*\\).*/\\1/'); "
            "echo ${COMPREPLY[@]}"
        )
        said = subprocess.run([bash, "-c", ask], check=True, capture_output=True, text=True).stdout
        assert said.split() == [completed]


@dataclasses.dataclass(frozen=True)
class _Failing:
    """Raise what it is told to."""

    how: str = "error"

    def run(self) -> None:
        if self.how == "error":
            message = "expected a preset, got 'x': try tio2-sem"
            raise errors.RecipeError(message)
        if self.how == "interrupt":
            raise KeyboardInterrupt


@pytest.mark.parametrize(("how", "code"), [("error", 1), ("interrupt", 130), ("nothing", 0)])
def test_exit_codes(how: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An error on purpose is one sentence on stderr and code 1; Ctrl-C is quiet; success is 0."""
    monkeypatch.setitem(cli.COMMANDS, "fail", f"{__name__}:_Failing")
    monkeypatch.setitem(sys.modules, __name__, sys.modules[_Failing.__module__])
    assert _exit_code(["fail", "--how", how]) == code
    said = capsys.readouterr().err
    assert said == ("nanostream: expected a preset, got 'x': try tio2-sem\n" if how == "error" else "")


@pytest.mark.parametrize("words", [["--help"], *([command, "--help"] for command in sorted(cli.COMMANDS))])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    """Help imports no torch, Ray, Mitsuba or zarr, so that it is there at once."""
    code = (
        "import sys\nfrom nanostream.cli import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        "print('heavy:', *({'torch', 'ray', 'mitsuba', 'monai', 'zarr', 'scipy'} & set(sys.modules)))"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].strip() == "heavy:"
    assert time.perf_counter() - start < 10
