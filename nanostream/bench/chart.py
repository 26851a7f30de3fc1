"""A bar for each of some figures, as an SVG picture that any browser and any Markdown page shows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["bars", "lines"]

_WIDTH, _NAMES, _ROW, _TOP, _FIGURES = 720, 250, 22, 34, 90
_HEIGHT, _LEFT, _BASE, _RIGHT = 240, 60, 200, 700
_COLOURS = ("#20639b", "#d1495b", "#3caea3", "#edae49", "#66327c")


def bars(figures: Mapping[str, float], *, title: str, unit: str = "", log: bool = False) -> str:
    """A bar a figure, all of them at least 0, with its number; log: lengths go with the logarithm."""
    largest = max(figures.values(), default=0.0)
    smallest = min((value for value in figures.values() if value > 0), default=1.0) / 2

    def share(value: float) -> float:
        if value <= 0 or largest <= 0:
            return 0.0
        return math.log(value / smallest) / math.log(largest / smallest) if log else value / largest

    room = _WIDTH - _NAMES - _FIGURES
    parts = []
    for row, (name, value) in enumerate(figures.items()):
        y, length = _TOP + row * _ROW, max(1.0, room * share(value))
        parts += [
            f'<text x="{_NAMES - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_NAMES}" y="{y + 3}" width="{length:.1f}" height="{_ROW - 7}" fill="{_COLOURS[0]}"/>',
            f'<text x="{_NAMES + length + 6:.1f}" y="{y + 14}">{value:.3g} {escape(unit)}</text>',
        ]
    heading = f"{title} (logarithmic)" if log else title
    return _picture(heading, parts, height=_TOP + _ROW * len(figures) + 8)


def lines(x: list[float], named: Mapping[str, list[float]], *, title: str, x_label: str, from_zero: bool = True) -> str:
    """A line a name over the same x, one value each; x holds at least two different values."""
    values = [value for line in named.values() for value in line]
    low, high = (0.0 if from_zero else min(values)), max(values)
    high = high if high > low else low + 1.0
    parts = []
    for number, (name, line) in enumerate(named.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(
            f"{_LEFT + (a - x[0]) / (x[-1] - x[0]) * (_RIGHT - _LEFT):.1f},"
            f"{_BASE - (b - low) / (high - low) * (_BASE - _TOP):.1f}"
            for a, b in zip(x, line, strict=True)
        )
        parts += [
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<text x="{_LEFT + 110 * number}" y="{_HEIGHT - 6}" fill="{colour}">{escape(name)}</text>',
        ]
    parts += [
        f'<path d="M{_LEFT},{_TOP}V{_BASE}H{_RIGHT}" fill="none" stroke="#888"/>',
        f'<text x="{_LEFT - 6}" y="{_TOP + 6}" text-anchor="end">{high:.3g}</text>',
        f'<text x="{_LEFT - 6}" y="{_BASE}" text-anchor="end">{low:.3g}</text>',
        f'<text x="{_LEFT}" y="{_BASE + 15}">{x[0]:.3g}</text>',
        f'<text x="{_RIGHT}" y="{_BASE + 15}" text-anchor="end">{x[-1]:.3g} {escape(x_label)}</text>',
    ]
    return _picture(title, parts, height=_HEIGHT)


def _picture(title: str, parts: list[str], *, height: int) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">'
    )
    ground = '<rect width="100%" height="100%" fill="white"/>'
    return "\n".join(
        [head, ground, f'<text x="8" y="20" font-weight="bold">{escape(title)}</text>', *parts, "</svg>\n"]
    )
