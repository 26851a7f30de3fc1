"""The report of all benchmarks: it holds what the commands printed, and says what could not be measured."""

from __future__ import annotations

import json
import pathlib
import sys
from typing import get_args

import pytest

from nanostream.bench.report import Record, parse_tables, run_sections, write_report
from nanostream.bench.sections import SECTIONS, Section, Sources, find_benchmarks
from nanostream.cli import app
from nanostream.cli.bench import Part

PRINTS = """
import sys
print("a line before")
print("| a | b |\\n|---|--:|\\n| 1 | 2.5 |")
print("words:", *sys.argv[1:])
sys.exit("--fail" in sys.argv and 3)
"""
HANGS = "import time; print('begun', flush=True); time.sleep(600)"
ONE = Section(name="one", title="The first", script="one.py", words=("--long",), quick=("--quick",))
TWO = Section(name="two", title="The second", script="two.py", quick=("--fail",))
NONE = Section(name="none", title="Not here", script="one.py", programs=("a-program-that-nobody-has",))


@pytest.fixture
def sources(tmp_path: pathlib.Path) -> Sources:
    """A folder of two scripts."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    for name in ("one.py", "two.py", "peers.py"):
        (folder / name).write_text(PRINTS)
    return Sources(out=tmp_path / "report", benchmarks=folder)


def _page(sources: Sources, *sections: Section, **words: object) -> tuple[list[Record], str]:
    records = run_sections(sources, quick=True, sections=sections, **words)  # type: ignore[arg-type]
    return records, write_report(sources.out, sections=sections).read_text(encoding="utf-8")


def test_the_page_holds_what_was_printed(sources: Sources) -> None:
    """Tables stand as they were printed, below the command that printed them; a JSON file holds their cells."""
    (sources.out).mkdir()
    (sources.out / "one.svg").write_text("<svg/>")
    _, page = _page(sources, ONE)
    assert "```sh\npython benchmarks/one.py --quick\n```" in page
    assert "\n| a | b |\n|---|--:|\n| 1 | 2.5 |\n" in page
    assert "```text\nwords: --quick\n```" in page
    assert "![The first](one.svg)" in page
    assert f"Python {sys.version.split()[0]}" in page
    content = json.loads((sources.out / "sections" / "one.json").read_text())
    assert content["tables"] == [[["a", "b"], ["1", "2.5"]]]
    assert content["machine"]["versions"]["nanostream"]


def test_what_fails_and_what_is_missing_stands_in_the_page(sources: Sources) -> None:
    """A part that ends with an exit code keeps what it printed, and one that cannot run says what it lacks."""
    records, page = _page(sources, ONE, TWO, NONE)
    assert [record.verdict for record in records] == ["done", "ended with 3", "not measured"]
    assert "It ended with exit code 3" in page
    assert "words: --fail" in page
    assert "Not measured: a-program-that-nobody-has not installed" in page


def test_a_part_that_takes_too_long_is_ended(sources: Sources) -> None:
    """Past its limit a part is ended, and what it had printed is kept."""
    assert sources.benchmarks is not None
    (sources.benchmarks / "one.py").write_text(HANGS)
    (record,), _ = _page(sources, ONE, limit_seconds=3.0)
    assert record.exit
    assert record.output.startswith("begun\n")
    assert "more than 3 s" in record.output


def test_parts_are_added_to_what_is_there(sources: Sources) -> None:
    """A run of some parts keeps the others of the folder in the report."""
    _page(sources, ONE, TWO)
    run_sections(sources, quick=False, only=["one"], sections=(ONE, TWO))
    page = write_report(sources.out, sections=(ONE, TWO)).read_text(encoding="utf-8")
    assert "words: --long" in page
    assert "words: --fail" in page


def test_without_a_checkout_the_comparisons_are_named_as_missing(tmp_path: pathlib.Path) -> None:
    """An installed package measures its own parts, and says of the others where they are to be had."""
    sources = Sources(out=tmp_path, benchmarks=None)
    missing = {section.name for section in SECTIONS if section.missing(sources)}
    assert missing == {section.name for section in SECTIONS if section.script}
    assert {section.name for section in SECTIONS} - missing == {"scaling", "simulate", "soak"}
    assert "run in a checkout" in str(SECTIONS[0].missing(sources))


def test_benchmarks_are_found(tmp_path: pathlib.Path, repository: pathlib.Path) -> None:
    """Those of the checkout by default, or the folder named; another folder is none."""
    found = find_benchmarks()
    assert found is not None
    assert found.samefile(repository / "benchmarks")
    assert find_benchmarks(tmp_path) is None
    assert find_benchmarks(repository / "benchmarks") == repository / "benchmarks"


def test_the_sections_are_commands_that_exist(repository: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Every script is there, every part of `nanostream bench` parses, and --only knows each name."""
    assert get_args(Part) == tuple(section.name for section in SECTIONS)
    sources = Sources(out=tmp_path, benchmarks=repository / "benchmarks", pictures=tmp_path, prices=("a b=1/2",))
    for section in SECTIONS:
        for quick in (True, False):
            words, typed = section.command(sources, quick=quick)
            if section.script:
                assert pathlib.Path(words[1]).is_file()
                assert typed.startswith(f"python benchmarks/{section.script}")
            else:
                assert app.parse(words[3:])
                assert typed.startswith("nanostream bench ")


def test_a_folder_without_benchmarks_is_refused(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--benchmarks with another folder is an error that says what was expected."""
    assert app.main(["bench", "all", "--benchmarks", str(tmp_path), "-o", str(tmp_path / "out")]) == 1
    assert "expected a folder with peers.py" in capsys.readouterr().err


def test_tables_are_told_from_text() -> None:
    """Two tables with text between them are two tables."""
    text = "head\n| a |\n|---|\n| 1 |\n| 2 |\n\ntext\n| b |\n|---|\n"
    assert parse_tables(text) == [[["a"], ["1"], ["2"]], [["b"]]]
