"""The parts of the whole report: which command makes each, and what it needs."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shlex
import shutil
import sys

__all__ = ["SECTIONS", "Section", "Sources", "find_benchmarks"]

_COMMAND = [sys.executable, "-c", "import sys; from nanostream.cli import main; sys.exit(main())"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the parts find what they need; None for what is not there."""

    out: pathlib.Path
    benchmarks: pathlib.Path | None
    pictures: pathlib.Path | None = None
    """Annotated pictures: images/ and masks/ of equal names."""
    peer_python: str | None = None
    blender_python: str | None = None
    prices: tuple[str, ...] = ()
    seed: int = 0

    @property
    def data(self) -> pathlib.Path | None:
        """The published data sets that the realism benchmark reads."""
        if self.benchmarks is None:
            return None
        beside = self.benchmarks.resolve().parents[1] / "shared" / "data"
        folder = pathlib.Path(os.environ.get("NANOSTREAM_SHARED_DATA", beside))
        return folder if folder.is_dir() else None

    @property
    def annotated(self) -> pathlib.Path | None:
        """The pictures named, or those of the published data sets."""
        if self.pictures is not None or self.data is None:
            return self.pictures
        folder = self.data / "bam_tio2_sem" / "validation"
        return folder if folder.is_dir() else None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part. words, quick: what follows the script or `nanostream bench`, in the long and the quick form."""

    name: str
    title: str
    script: str | None = None
    """In benchmarks/; None for a part of `nanostream bench`."""
    words: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    """That have to be installed."""

    def missing(self, sources: Sources) -> str | None:
        """Why it cannot run here; None where it can."""
        if self.script is not None and sources.benchmarks is None:
            return "benchmarks/ is not part of the installed package: run in a checkout, or name it with --benchmarks"
        absent = [name for name in self.programs if shutil.which(name) is None]
        if absent:
            return f"{' and '.join(absent)} not installed"
        if self.name == "realism" and sources.data is None:
            return "the published data sets are not on this machine: name their folder in NANOSTREAM_SHARED_DATA"
        if self.name == "segmentation" and sources.annotated is None:
            return "no annotated pictures: name a folder of images/ and masks/ with --pictures"
        return None

    def command(self, sources: Sources, *, quick: bool) -> tuple[list[str], str]:
        """What to run, and how a user would type it."""
        words = [*(self.quick if quick else self.words), *self._more(sources, quick=quick)]
        if self.script is None:
            return [*_COMMAND, "bench", *words], shlex.join(["nanostream", "bench", *words])
        assert sources.benchmarks is not None
        typed = shlex.join(["python", f"benchmarks/{self.script}", *words])
        return [sys.executable, str(sources.benchmarks / self.script), *words], typed

    def _more(self, sources: Sources, *, quick: bool) -> list[str]:
        """Words that depend on where things are."""
        out, words = str(sources.out), list[str]()
        if self.name in {"peers", "pools", "scaling", "soak"}:
            words += ["--out", out, "--seed", str(sources.seed)]
        if self.name == "scaling":
            words += [word for price in sources.prices for word in ("--price", price)]
        if self.name == "peers":
            words += ["--blender-python", sources.blender_python] if sources.blender_python else []
        if self.name in {"peers", "storage"} and sources.peer_python:
            words += ["--peer-python", sources.peer_python]
        if self.name == "realism":
            words += ["--json", f"{out}/realism.json", "--seed", str(sources.seed)]
        if self.name == "segmentation":
            form = "-quick" if quick else ""
            words += ["--evaluate", str(sources.annotated), "--out", f"{out}/segmentation{form}.json"]
        return words


SECTIONS = (
    Section(
        name="render",
        title="Rendering",
        script="render.py",
        words=("rays", "error", "workers", "together", "first", "published"),
        quick=("rays", "--samples", "30"),
    ),
    Section(name="stream", title="The stream", script="stream.py", words=("--real", "--train")),
    Section(
        name="chaos", title="Chaos: what a stream keeps while its parts die", script="chaos.py", quick=("--quick",)
    ),
    Section(name="storage", title="Samples at rest", script="storage.py", quick=("--count", "16")),
    Section(
        name="gateway",
        title="The gateway",
        script="gateway.py",
        quick=("--quick", "cached"),
        programs=("curl", "wrk"),
    ),
    Section(
        name="realism",
        title="How real the pictures are",
        script="realism.py",
        quick=("--count", "2", "--no-network"),
    ),
    Section(
        name="segmentation",
        title="What fresh samples are worth to a segmentation network",
        script="segmentation.py",
        words=("study",),
        quick=("study", "--steps", "10", "--seeds", "1", "--arms", "fresh", "otsu"),
    ),
    Section(name="peers", title="Beside what a user would pick instead", script="peers.py", quick=("--quick",)),
    Section(name="pools", title="How large a pool a training needs", script="pools.py", quick=("--quick",)),
    Section(
        name="scaling",
        title="Scaling",
        words=("scaling",),
        quick=("scaling", "--rounds", "1", "--seconds", "2"),
    ),
    Section(
        name="simulate",
        title="Up to a thousand nodes, simulated",
        words=("simulate",),
        # A node is lost after 30 s.
        quick=("simulate", "--nodes", "100", "300", "--seconds", "32"),
    ),
    Section(
        name="soak",
        title="Soak",
        words=("soak", "--minutes", "60"),
        quick=("soak", "--minutes", "0.25"),
    ),
)
"""In the order of the report."""


def find_benchmarks(named: pathlib.Path | None = None) -> pathlib.Path | None:
    """The folder named; else that of the checkout that this package lies in, or of the current folder."""
    beside = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"
    candidates = [named] if named is not None else [beside, pathlib.Path.cwd() / "benchmarks"]
    return next((folder for folder in candidates if (folder / "peers.py").is_file()), None)
