"""What was found of each peer, as a table in Markdown: part of peers.py."""

from __future__ import annotations

import dataclasses
import statistics
from typing import Any

_HOUR = 3600


@dataclasses.dataclass
class Row:
    """One peer: what its runs showed, or why there are none."""

    title: str
    runs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    disk_bytes: int = 0
    beforehand_seconds: float = 0.0
    skipped: str = ""
    failed: str = ""

    @property
    def rates(self) -> list[float]:
        """Samples/s in all windows of all rounds."""
        return [rate for run in self.runs for rate in run["rates"]]

    @property
    def rate(self) -> float:
        """Their median."""
        return statistics.median(self.rates)

    @property
    def in_an_hour(self) -> float:
        """Distinct samples: a set that came round has no more than were seen of it."""
        if all(run["distinct"] == run["seen"] for run in self.runs):
            return self.rate * _HOUR
        return max(run["distinct"] for run in self.runs)

    @property
    def waited(self) -> float:
        """Share of its time that the training waits: the median over all windows of all rounds."""
        return statistics.median(share for run in self.runs for share in run["waits"])

    def median(self, what: str) -> float:
        """Of a figure over the rounds."""
        return statistics.median(run[what] for run in self.runs)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        derived = {"rate": self.rate, "in_an_hour": self.in_an_hour} if self.runs else {}
        return dataclasses.asdict(self) | derived


def table(rows: dict[str, Row], *, ours: str) -> str:
    """A line a peer."""
    heads = (
        "|samples/s|of ours|training waits|first batch|peak memory|on disk|beforehand|in an hour|after kill -9|"
        "processes left"
    )
    columns = heads.split("|")
    lines = [f"| {' | '.join(columns)} |", "|---" + "|--:" * 8 + "|---|--:|"]
    base = {run["round"]: statistics.median(run["rates"]) for run in rows[ours].runs}
    for row in rows.values():
        if not row.runs:
            lines.append(f"| {row.title} | not measured: {row.skipped or row.failed}{' |' * (len(columns) - 1)}")
            continue
        ratios = [statistics.median(run["rates"]) / base[run["round"]] for run in row.runs if run["round"] in base]
        cells = [
            row.title,
            f"{row.rate:.1f} ({min(row.rates):.1f} to {max(row.rates):.1f})",
            f"{statistics.median(ratios):.2f}" if ratios else "",
            f"{100 * row.waited:.1f} %",
            f"{row.median('first_seconds'):.1f} s",
            f"{row.median('peak_bytes') / 1e6:.0f} MB",
            f"{row.disk_bytes / 1e6:.1f} MB",
            f"{row.beforehand_seconds:.1f} s",
            f"{row.in_an_hour:,.0f}",
            "; ".join(sorted({run.get("resumed", "not asked") for run in row.runs})),
            f"{row.median('left'):.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
