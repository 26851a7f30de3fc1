"""The commands doctor, preview and bench."""

from __future__ import annotations

import importlib.metadata
import shutil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from PIL import Image

from nanostream.bench.render import measure_render
from nanostream.cli import app, doctor
from nanostream.errors import RenderError
from nanostream.recipe import Recipe

if TYPE_CHECKING:
    import pathlib


class _Usage(NamedTuple):
    total: int
    used: int
    free: int


def _small() -> Recipe:
    return Recipe.preset("tio2-sem").replaced("picture.height=64", "picture.width=48")


@pytest.mark.slow
def test_doctor_finds_a_fresh_installation_right(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With nothing but pip's packages the renderer is found and a sample is rendered; the exit code is 0."""
    monkeypatch.delenv("DRJIT_LIBLLVM_PATH", raising=False)
    code = app.main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert code == 0, lines
    named = {line.split()[1] for line in lines[:-1]}
    assert named >= {"python", "packages", "llvm", "backend", "torch", "ray", "cores", "/dev/shm", "disk", "sample"}
    assert all(line.startswith("right ") for line in lines[:-1])


def test_doctor_says_what_to_do_without_llvm(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A libLLVM that is none is a wrong line with its remedy, and the exit code is 1."""
    nothing = tmp_path / "libLLVM.so"
    nothing.write_bytes(b"")
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", str(nothing))
    assert app.main(["doctor"]) == 1
    said = capsys.readouterr()
    assert "wrong  llvm" in said.out
    assert "-> install the wheel with `pip install karellen-llvm-core" in said.out
    assert "llvm" in said.err
    assert len(said.err.splitlines()) == 1


def test_doctor_names_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is not installed is a wrong line that says how to install it."""

    def version(name: str) -> str:
        if name == "zarr":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    finding = next(finding for finding in doctor.examine() if finding.what == "packages")
    assert "no zarr" in finding.found
    assert finding.remedy == "pip install -c constraints.txt zarr"


def test_doctor_wants_shared_memory_and_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little free shared memory and a full disk are wrong lines."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(2**30, 2**30 - 2**20, 2**20))
    findings = {finding.what: finding for finding in _before_the_sample()}
    assert "--shm-size" in findings["/dev/shm"].remedy
    assert "free at least 1 GiB" in findings["disk"].remedy


def _before_the_sample() -> list[doctor.Finding]:
    findings = []
    for finding in doctor.examine():
        findings.append(finding)
        if finding.what == "disk":
            break
    return findings


def test_preview_draws_pairs(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sheet has two tiles for each sample, three samples a row; images are grey and masks coloured."""
    out = tmp_path / "sheet.png"
    small = ["--set", "picture.height=64", "--set", "picture.width=48"]
    assert app.main(["preview", "tio2-sem", "-o", str(out), "-n", "4", "--seed", "3", *small]) == 0
    assert capsys.readouterr().out == f"Drew 4 samples of tio2-sem with their masks in {out}.\n"
    pixels = np.asarray(Image.open(out))
    assert pixels.shape[1] >= 6 * 48
    assert 2 * 64 <= pixels.shape[0] < 3 * 64
    assert list(tmp_path.iterdir()) == [out]


def test_preview_repeats_itself(tmp_path: pathlib.Path) -> None:
    """The same preset and seed give the same file."""
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file in files:
        assert app.main(["preview", "tio2-sem", "-o", str(file), "-n", "1", "--set", "picture.height=64"]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tio2-smm"], "tio2-sem"),
        (["missing.json"], "missing.json"),
        (["tio2-sem", "--set", "picture.heigth=64"], "heigth"),
        (["tio2-sem", "--set", "picture.height=-1"], "-1"),
        (["tio2-sem", "--set", "picture.height"], "picture.height"),
        (["tio2-sem", "--seed", "-1"], "-1"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str], said: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad input ends with code 1 and one line on stderr that names it, and nothing is written."""
    assert app.main(["preview", *words, "-o", str(tmp_path / "sheet.png")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_bench_measures_one_process_on_one_thread() -> None:
    """The figures are of the samples asked for, and one core does the work."""
    figures = measure_render(_small(), samples=5)
    assert (figures.samples, figures.height, figures.width) == (5, 64, 48)
    assert figures.first_sample_seconds > 0
    assert figures.samples_per_second > 0
    assert figures.cpu_seconds < 1.2 * figures.seconds + 0.1


def test_bench_says_that_the_renderer_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rendering process that ends early is a RenderError that says what to run."""
    monkeypatch.setenv("NANOSTREAM_BACKEND", "tango")
    with pytest.raises(RenderError, match="nanostream doctor"):
        measure_render(_small(), samples=1)


@pytest.mark.slow
def test_bench_prints_both_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """`nanostream bench render` prints samples/s and the time to the first sample."""
    assert app.main(["bench", "render", "-n", "3"]) == 0
    said = capsys.readouterr().out
    assert "samples/s" in said
    assert "first sample" in said
    assert said.splitlines()[-1].startswith("Rendered 4 samples of tio2-sem, 256x256 pixels")
