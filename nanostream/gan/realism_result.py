"""The measures of realism as values: with their floors, as a table and as plain numbers.

`nanostream.gan.realism` says what each measure means and does not.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import rich.table

__all__ = ["MEASURES", "Curve", "Measure", "Realism"]

MEASURES = {
    "grey": ("Grey levels", "levels"),
    "spectrum": ("Power spectra", "dB"),
    "edges": ("Edge profiles", "% of contrast"),
    "noise": ("Noise against signal", "levels"),
    "two_sample": ("Told apart by a network", "accuracy"),
}
"""Title and unit of each measure."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """One number and what two halves of the real pictures give.

    spread: standard deviation of the value over halves of the real pictures; of the network's accuracy over splits.
    floor, floor_spread: mean and deviation between two halves, over many ways to halve.
    """

    value: float
    floor: float
    spread: float
    floor_spread: float

    @property
    def excess(self) -> float:
        """What is above the floor; below 0 where nothing can be told from chance."""
        return self.value - self.floor

    @property
    def ratio(self) -> float:
        """How many floors it is; large where the floor is 0, as between copies of one picture."""
        return self.value / max(self.floor, 1e-9)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Curve:
    """What a distance was taken between: y of the real and of the rendered pictures at each x, (n,) float64."""

    name: str
    x: npt.NDArray[np.float64]
    real: npt.NDArray[np.float64]
    rendered: npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Realism:
    """The measures of a set of rendered pictures; two_sample is None where it was not asked for."""

    grey: Measure
    spectrum: Measure
    edges: Measure
    noise: Measure
    two_sample: Measure | None
    real_pictures: int
    rendered_pictures: int
    tile_px: int
    curves: tuple[Curve, ...] = ()

    @property
    def measures(self) -> dict[str, Measure]:
        """The measures that were taken, by name."""
        named = {name: getattr(self, name) for name in MEASURES}
        return {name: measure for name, measure in named.items() if measure is not None}

    @property
    def score(self) -> float:
        """One number to choose a checkpoint by, less is better: how many floors the distances are.

        Geometric mean over the four distances of value / floor, so that halving any of them counts the same; the
        network's accuracy is left out. About 0.5 is perfect.
        """
        ratios = [each.ratio for name, each in self.measures.items() if name != "two_sample"]
        return math.exp(sum(math.log(max(ratio, 1e-3)) for ratio in ratios) / len(ratios))

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON, without the curves."""
        measures = {name: dataclasses.asdict(measure) for name, measure in self.measures.items()}
        counts = {name: getattr(self, name) for name in ("real_pictures", "rendered_pictures", "tile_px")}
        return {**measures, "score": self.score, **counts}

    def table(self, *, title: str | None = None) -> rich.table.Table:
        """A row for each measure: its value, its floor and what is above the floor."""
        import rich.table

        table = rich.table.Table(title=title)
        table.add_column("measure", no_wrap=True)
        for heading in ("rendered", "floor", "excess"):
            table.add_column(heading, justify="right")
        table.add_column("unit")
        for name, each in self.measures.items():
            label, unit = MEASURES[name]
            value, floor = f"{each.value:.3g} ± {each.spread:.2g}", f"{each.floor:.3g} ± {each.floor_spread:.2g}"
            table.add_row(label, value, floor, f"{each.excess:.3g}", unit)
        return table
