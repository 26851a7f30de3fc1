"""nanostream beside what a user would pick instead, on the same scenes, in one run.

    python benchmarks/peers.py
    python benchmarks/peers.py --quick                     # two seconds each, and not started again
    python benchmarks/peers.py --peer-python peers/bin/python --blender-python blender/bin/python   # half an hour
    python benchmarks/peers.py --only ours ours-1 loader-own

Each runs in a process of its own, which is killed in the end and started again from the state that its library let
it save. peers_loop.py is that process; a file peers_*.py holds each of them. MosaicML streaming, litData and bpy
need environments of their own: peers_converted.py and peers_blender.py say how they are made. Prints a table and
writes peers.json and peers.svg into --out.

samples/s       median of five windows in each round, and the least and the greatest
of ours         the median over the same round's nanostream with all workers
training waits  share of its time, where it takes 0.8 of the samples/s that nanostream delivered in the first round
first batch     from the start of the process
peak memory     proportional set size of the process with all below it
beforehand      time to render and write what is read
in an hour      distinct samples: all that is delivered, or all that there is
after kill -9   what comes when the process is started again, beside what would have come
"""

from __future__ import annotations

import argparse
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from peers_child import run_child
from peers_prepare import Prepared, prepare
from peers_table import Row, table

from nanostream.bench.chart import bars
from nanostream.segment.cores import cores

if TYPE_CHECKING:
    from collections.abc import Iterable

RECIPE = "tio2-sem"
OURS = "ours"
PEERS = {
    OURS: ("nanostream", "peers_ours:Nanostream"),
    "ours-1": ("nanostream, 1 worker", "peers_ours:Nanostream"),
    "loader-mitsuba": ("DataLoader, Mitsuba in `__getitem__`", "peers_dataloader:LoaderMitsuba"),
    "loader-own": ("DataLoader, our `render` in `__getitem__`", "peers_dataloader:LoaderRender"),
    "ray-data-mitsuba": ("Ray Data, Mitsuba", "peers_ray_data:RayDataMitsuba"),
    "ray-data-own": ("Ray Data, our `render`", "peers_ray_data:RayDataRender"),
    "zeromq-mitsuba": ("ZeroMQ producers, Mitsuba", "peers_zeromq:ZeroMqMitsuba"),
    "zeromq-own": ("ZeroMQ producers, our `render`", "peers_zeromq:ZeroMqRender"),
    "blender": ("Blender Cycles, image without mask", "peers_blender:Blender"),
    "webdataset": ("fixed set, WebDataset", "peers_webdataset:WebDataset"),
    "mosaic": ("fixed set, MosaicML streaming", "peers_mosaic:MosaicMl"),
    "litdata": ("fixed set, litData", "peers_litdata:LitData"),
    "monai": ("fixed set, MONAI augmentation", "peers_monai:MonaiAugmented"),
}
"""Name on the command line: what the table calls it, and where its class stands."""

CONVERTED = ("mosaic", "litdata")
QUICK = tuple(
    name for name in PEERS if name not in {"ours-1", "ray-data-mitsuba", "ray-data-own", "zeromq-mitsuba", "monai"}
)
"""Where time is short Mitsuba in one and one fixed set are enough, pools.py shows what too few workers cost, and Ray
Data takes too long to its first batch."""


def main() -> int:
    """Prepare, let all take turns, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tuple(PEERS), metavar="NAME", help=", ".join(PEERS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float, help="of each of the two parts; 10, or 2 where quick")
    parser.add_argument("--rounds", type=int, help="2, or 1 where quick")
    parser.add_argument("--count", type=int, help="samples of the fixed sets; 512, or 32 where quick")
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer-python", help="python of an environment with MosaicML streaming and litData")
    parser.add_argument("--blender-python", help="python of an environment with bpy")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("report"))
    words = parser.parse_args()
    # As Ctrl-C does: what was started is ended, and the folder removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    words.seconds = words.seconds or (2.0 if words.quick else 10.0)
    words.rounds = words.rounds or (1 if words.quick else 2)
    words.count = words.count or (32 if words.quick else 512)
    names = list(dict.fromkeys([OURS, *(words.only or (QUICK if words.quick else PEERS))]))
    rows = {name: Row(title=PEERS[name][0]) for name in names}
    # Ray puts sockets there, whose paths must be short.
    with tempfile.TemporaryDirectory(prefix="ns-peers-", dir="/tmp", ignore_cleanup_errors=True) as scratch:
        prepared = prepare(pathlib.Path(scratch), names, words, recipe=RECIPE)
        measure(rows, prepared, words)
    print(table(rows, ours=OURS))
    print(
        f"\n{RECIPE}, {words.workers} workers, batches of {words.batch_size}, seed {words.seed}, "
        f"{words.rounds} rounds of {words.seconds:g} s, fixed sets of {words.count}; "
        f"training takes {prepared.train_rate:.1f} samples/s."
    )
    words.out.mkdir(parents=True, exist_ok=True)
    found = {name: row.as_dict() for name, row in rows.items()}
    (words.out / "peers.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    rates = {row.title.replace("`", ""): row.rate for row in rows.values() if row.runs}
    (words.out / "peers.svg").write_text(bars(rates, title="Samples a second", log=True), encoding="utf-8")
    return 0 if all(row.runs or row.skipped for row in rows.values()) else 1


def measure(rows: dict[str, Row], prepared: Prepared, words: argparse.Namespace) -> None:
    """All in turn, round by round; what cannot run here says why."""
    for number in range(words.rounds):
        for name, row in _turn(rows):
            python = _python(name, words)
            if isinstance(python, Skipped):
                row.skipped = str(python)
                continue
            began = time.perf_counter()
            settings = {
                "peer": PEERS[name][1],
                "recipe": RECIPE,
                "folder": str(prepared.folder),
                "seed": words.seed + number,
                "workers": 1 if name == "ours-1" else words.workers,
                "batch_size": words.batch_size,
                "seconds": words.seconds,
                "train_rate": prepared.train_rate or None,
            }
            run = run_child(python, settings, limit_seconds=60 + 30 * words.seconds, again=not words.quick)
            if isinstance(run, str):
                row.failed = run
            else:
                row.runs.append(run | {"round": number})
                prepared.train_rate = prepared.train_rate or run["train_rate"]
            row.disk_bytes, row.beforehand_seconds = prepared.cost.get(name, (0, 0.0))
            print(f"{name}, round {number + 1}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)


class Skipped(str):
    """Why one is not measured."""

    __slots__ = ()


def _turn(rows: dict[str, Row]) -> Iterable[tuple[str, Row]]:
    """Those that can still run."""
    return [(name, row) for name, row in rows.items() if not (row.skipped or row.failed)]


def _python(name: str, words: argparse.Namespace) -> str | Skipped:
    """The interpreter for one, or why there is none."""
    if name in CONVERTED:
        return words.peer_python or Skipped("name its environment with --peer-python")
    if name == "blender":
        if words.blender_python:
            return words.blender_python
        found = subprocess.run([sys.executable, "-c", "import bpy"], capture_output=True, check=False).returncode == 0
        return sys.executable if found else Skipped("name its environment with --blender-python")
    return sys.executable


if __name__ == "__main__":
    sys.exit(main())
