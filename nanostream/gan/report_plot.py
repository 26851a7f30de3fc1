"""Where the lines and bars of a small plot lie; the report's template draws them as SVG.

Legend: n = points of a line.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

__all__ = ["bars", "lines"]

_WIDTH, _HEIGHT = 340, 210
_LEFT, _RIGHT, _TOP, _BASE = 46, 324, 8, 172
_TICKS = 5
_MOST_BINS = 30


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Frame:
    """From values to places; a span of one value is widened."""

    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return round(_LEFT + across * (_RIGHT - _LEFT), 1), round(_BASE - up * (_BASE - _TOP), 1)


def lines(
    x: npt.NDArray[Any],
    named: Mapping[str, npt.NDArray[Any]],
    *,
    title: str,
    x_label: str,
    mark: float | None = None,
) -> dict[str, Any]:
    """A plot of lines over x, (n,) each; NaN parts a line. mark: x of a vertical line."""
    values = np.concatenate([np.asarray(line, np.float64) for line in named.values()])
    frame = _Frame(x=_span(np.asarray(x, np.float64)), y=_span(values))
    drawn = [{"kind": kind, "parts": _parts(x, line, frame)} for kind, line in named.items()]
    at = None if mark is None else frame.at(mark, frame.y[0])[0]
    return {**_plot(frame, title=title, x_label=x_label), "lines": drawn, "mark": at}


def bars(values: npt.NDArray[Any], *, title: str, x_label: str) -> dict[str, Any]:
    """A histogram of at least one value: percent of them in each bin."""
    values = np.asarray(values, np.float64).ravel()
    # Rice's rule: it needs no spread, which a handful of values does not have.
    bins = min(_MOST_BINS, math.ceil(2 * len(values) ** (1 / 3)))
    span = _span(values)
    count, edges = np.histogram(values, bins, span)
    percent = 100 * count / len(values)
    frame = _Frame(x=span, y=(0.0, max(float(percent.max()), 1e-9)))
    drawn = []
    for low, high, share in zip(edges[:-1], edges[1:], percent, strict=True):
        (x0, y0), (x1, _) = frame.at(low, share), frame.at(high, share)
        height = round(_BASE - y0, 1)
        label = f"{low:.4g} to {high:.4g}: {share:.1f} %"
        drawn.append({"x": x0, "y": y0, "width": max(round(x1 - x0 - 1, 1), 0.5), "height": height, "title": label})
    return {**_plot(frame, title=title, x_label=x_label), "bars": drawn}


def _plot(frame: _Frame, *, title: str, x_label: str) -> dict[str, Any]:
    return {
        "title": title,
        "x_label": x_label,
        "width": _WIDTH,
        "height": _HEIGHT,
        "left": _LEFT,
        "right": _RIGHT,
        "top": _TOP,
        "base": _BASE,
        "x_ticks": [{"at": frame.at(tick, frame.y[0])[0], "text": f"{tick:.4g}"} for tick in _ticks(frame.x)],
        "y_ticks": [{"at": frame.at(frame.x[0], tick)[1], "text": f"{tick:.4g}"} for tick in _ticks(frame.y)],
        "lines": [],
        "bars": [],
        "mark": None,
    }


def _parts(x: npt.NDArray[Any], y: npt.NDArray[Any], frame: _Frame) -> list[str]:
    """The points of each stretch without NaN."""
    known = np.isfinite(y)
    stretches = np.split(np.arange(len(x)), np.flatnonzero(np.diff(known)) + 1)
    return [
        " ".join("{},{}".format(*frame.at(float(x[k]), float(y[k]))) for k in stretch)
        for stretch in stretches
        if len(stretch) and known[stretch[0]]
    ]


def _span(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-30):
        margin = max(0.1 * abs(low), 1e-9)
        return low - margin, high + margin
    return low, high


def _ticks(span: tuple[float, float]) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, about five in the span."""
    low, high = span
    power = 10.0 ** math.floor(math.log10((high - low) / _TICKS))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * _TICKS >= high - low)
    return [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
