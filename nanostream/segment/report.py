"""The report of a segmentation: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import dataclasses
import importlib.resources
import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

__all__ = ["render_report"]

WIDTH, HEIGHT, BASE = 720, 300, 260
"""Of the histogram, and where its axis lies."""
MOST_BINS = 40
MOST_FIGURES = 24
FIGURE_PX = 1024


def render_report(
    summary: dict[str, Any],
    *,
    title: str,
    sizes_nm: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    overlays: Sequence[tuple[str, Path]],
) -> str:
    """HTML of a report.

    summary: see `summary.summarise`, with `nanostream` and `model` beside. sizes_nm, weights: (n,), for the histogram.
    overlays: name and PNG file of each picture; the first 24 are shown.
    """
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["nm"] = _nm
    text = (importlib.resources.files("nanostream.segment") / "report.html.j2").read_text("utf-8")
    kept = weights > 0
    return environment.from_string(text).render(
        title=title,
        summary=summary,
        sizes=summary["sizes"],
        plot=_plot(sizes_nm[kept], weights[kept], summary["sizes"]) if kept.any() else None,
        figures=[{"name": name, "data": _jpeg(path)} for name, path in overlays[:MOST_FIGURES]],
    )


def _nm(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _jpeg(path: Path) -> str:
    """A picture as JPEG of at most FIGURE_PX, in base64."""
    from PIL import Image

    with Image.open(path) as picture:
        picture.thumbnail((FIGURE_PX, FIGURE_PX))
        buffer = io.BytesIO()
        picture.convert("RGB").save(buffer, format="JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Axis:
    """From sizes to places in the plot."""

    low: float
    high: float
    most: float
    """Highest density, at the plot's top."""

    def x(self, size_nm: float) -> float:
        return round((size_nm - self.low) / (self.high - self.low) * WIDTH, 1)

    def y(self, density: float) -> float:
        return round(BASE - density / self.most * (BASE - 10), 1)


def _plot(x: npt.NDArray[np.float64], w: npt.NDArray[np.float64], sizes: dict[str, Any]) -> dict[str, Any]:
    """Places of everything in the histogram: densities by number over equivalent diameter."""
    # Rice's rule: it needs no spread, which a handful of particles does not have.
    bins = min(MOST_BINS, math.ceil(2 * len(x) ** (1 / 3)))
    low, high = float(x.min()), float(x.max())
    if low == high:
        low, high = 0.9 * low, 1.1 * high
    density, edges = np.histogram(x, bins, (low, high), weights=w, density=True)
    curve = _lognormal(np.linspace(low, high, 200), sizes)
    axis = _Axis(low=low, high=high, most=float(max(density.max(), curve.max(initial=0))))
    step = _tick_step(high - low)
    share = density * np.diff(edges)
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "base": BASE,
        "bars": [
            {
                "x": axis.x(a),
                "y": axis.y(d),
                "width": round(max(axis.x(b) - axis.x(a) - 1, 0.5), 1),
                "height": round(BASE - axis.y(d), 1),
                "title": f"{a:.1f} to {b:.1f} nm: {s:.1%}",
            }
            for a, b, d, s in zip(edges[:-1], edges[1:], density, share, strict=True)
        ],
        "curve": " ".join(f"{axis.x(v)},{axis.y(d)}" for v, d in zip(np.linspace(low, high, 200), curve, strict=False)),
        "ticks": [
            {"x": axis.x(tick), "text": f"{tick:g}"}
            for tick in np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step
        ],
    }


def _lognormal(x: npt.NDArray[np.float64], sizes: dict[str, Any]) -> npt.NDArray[np.float64]:
    """Density of the log-normal fit; empty if there is none."""
    median, sigma = sizes["lognormal_median_nm"], sizes["lognormal_sigma"]
    if not sigma:
        return np.empty(0)
    z = np.log(x / median) / sigma
    return np.exp(-0.5 * z**2) / (x * sigma * math.sqrt(2 * math.pi))


def _tick_step(span: float) -> float:
    """1, 2 or 5 times a power of ten, so that about eight ticks lie in the span."""
    power = 10.0 ** math.floor(math.log10(span / 8))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor * 8 >= span)
