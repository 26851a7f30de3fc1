"""All benchmarks one after the other, and one page in Markdown of what they printed.

Every number of the page was printed by a command that stands above it; nothing is written by hand.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

from nanostream.bench.machine import describe_machine, now
from nanostream.bench.sections import SECTIONS, Section, Sources
from nanostream.files import write_json, write_text

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Collection

__all__ = ["Record", "markdown", "parse_tables", "run_sections", "write_report"]

_LAST_LINES = 5
_END_SECONDS = 20.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one section printed, and what it ran on."""

    name: str
    form: str
    """quick or long."""
    command: str
    began: str
    seconds: float
    exit: int | None
    """None: not measured."""
    output: str
    """What it printed, or why it is not measured."""
    machine: dict[str, Any]

    @property
    def verdict(self) -> str:
        """How it went, in a word or two."""
        if self.exit is None:
            return "not measured"
        return "done" if self.exit == 0 else f"ended with {self.exit}"


def run_sections(
    sources: Sources,
    *,
    quick: bool,
    only: Collection[str] = (),
    limit_seconds: float | None = None,
    sections: tuple[Section, ...] = SECTIONS,
    on_begin: Callable[[str], None] | None = None,
) -> list[Record]:
    """Run the sections, or `only` some, one after the other; a JSON file of each in sections/.

    limit_seconds: after which one is ended; None: never.
    """
    records = []
    for section in sections:
        if only and section.name not in only:
            continue
        if on_begin is not None:
            on_begin(section.name)
        record = _run(section, sources, quick=quick, limit_seconds=limit_seconds)
        content = dataclasses.asdict(record) | {"tables": parse_tables(record.output)}
        write_json(_folder(sources.out) / f"{section.name}.json", content)
        records.append(record)
    return records


def write_report(out: pathlib.Path, *, sections: tuple[Section, ...] = SECTIONS) -> pathlib.Path:
    """report.md of all sections that lie in a folder, of this run and of others before it."""
    records = {}
    for section in sections:
        file = _folder(out) / f"{section.name}.json"
        if file.exists():
            content = json.loads(file.read_text(encoding="utf-8"))
            content.pop("tables")
            records[section.name] = Record(**content)
    plots = {path.stem: path.name for path in sorted(out.glob("*.svg"))}
    page = markdown([(section, records[section.name]) for section in sections if section.name in records], plots)
    write_text(out / "report.md", page)
    return out / "report.md"


def markdown(parts: list[tuple[Section, Record]], plots: dict[str, str]) -> str:
    """The page. plots: file names of pictures, by section."""
    machine = parts[-1][1].machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        "# What nanostream reaches on this machine",
        "",
        (
            f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}, "
            f"Python {machine['python']}."
        ),
        f"Versions: {versions}.",
        "",
        (
            "Every number below was printed by the command above it. Rates are medians of at least five windows or "
            "passes, with the least and the greatest beside them where a table has them; ratios are of one run."
        ),
        "",
        "| part | how it went | form | seconds | began | commit | load before |",
        "|---|---|---|--:|---|---|--:|",
    ]
    lines += [
        f"| [{section.title}](#{section.name}) | {record.verdict} | {record.form} | {record.seconds:.0f} "
        f"| {record.began} | {record.machine['commit'] or ''} | {record.machine['load']} |"
        for section, record in parts
    ]
    for section, record in parts:
        lines += ["", f'<a id="{section.name}"></a>', "", f"## {section.title}", ""]
        if record.command:
            lines += ["```sh", record.command, "```", ""]
        if record.exit is None:
            lines += [f"Not measured: {record.output}"]
            continue
        if record.exit:
            lines += [f"It ended with exit code {record.exit}: a promise did not hold, or it failed.", ""]
        lines += _fenced(record.output)
        if section.name in plots:
            lines += ["", f"![{section.title}]({plots[section.name]})"]
    return "\n".join(lines) + "\n"


def parse_tables(output: str) -> list[list[list[str]]]:
    """The cells of each Markdown table in a text, row by row, without the rule below the head."""
    groups = itertools.groupby(output.splitlines(), key=lambda line: line.startswith("|"))
    return [
        [
            [cell.strip() for cell in line.strip().strip("|").split("|")]
            for number, line in enumerate(some)
            if number != 1
        ]
        for is_table, some in groups
        if is_table
    ]


def _fenced(output: str) -> list[str]:
    """Tables as they are, and other lines as preformatted text."""
    lines: list[str] = []
    for is_table, some in itertools.groupby(output.strip().splitlines(), key=lambda line: line.startswith("|")):
        text = "\n".join(some).strip("\n")
        if text:
            lines += [text, ""] if is_table else ["```text", text, "```", ""]
    return lines[:-1]


def _run(section: Section, sources: Sources, *, quick: bool, limit_seconds: float | None) -> Record:
    machine, began, clock = describe_machine(), now(), time.perf_counter()
    why = section.missing(sources)
    words, typed = ([], "") if why else section.command(sources, quick=quick)
    exit_code, output = (None, why) if why else _captured(words, section.name, sources.out, limit_seconds)
    return Record(
        name=section.name,
        form="quick" if quick else "long",
        command=typed,
        began=began,
        seconds=time.perf_counter() - clock,
        exit=exit_code,
        output=output or "",
        machine=machine,
    )


def _captured(words: list[str], name: str, out: pathlib.Path, limit_seconds: float | None) -> tuple[int, str]:
    """Exit code and what was printed, with the end of the log behind it where the code is not 0."""
    folder = _folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    printed, log = folder / f"{name}.txt", folder / f"{name}.log"
    late = ""
    # Files and no pipes: what outlives a process would hold a pipe open.
    with printed.open("w", encoding="utf-8") as output, log.open("w", encoding="utf-8") as errors:
        child = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True, env=_environment()
        )
        try:
            child.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            late = f"\nended: it took more than {limit_seconds:.0f} s"
        finally:
            _end(child)
    text = printed.read_text(encoding="utf-8", errors="replace") + late
    if child.returncode:
        tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LAST_LINES:]
        text += "\n" + "\n".join(tail)
    return child.returncode, text


def _environment() -> dict[str, str]:
    """This one's, with what is printed written at once: a part that is ended keeps what it had."""
    return {**os.environ, "PYTHONUNBUFFERED": "1"}


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ctrl-C first, so that it ends what it started."""
    for number, seconds in ((signal.SIGINT, _END_SECONDS), (signal.SIGKILL, None)):
        if child.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(seconds)


def _folder(out: pathlib.Path) -> pathlib.Path:
    return out / "sections"
