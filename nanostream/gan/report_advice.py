"""What to try next where a measure of realism is poor: by how the curves differ, in words and fields of a recipe."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from nanostream.gan.realism_result import MEASURES

if TYPE_CHECKING:
    from nanostream.gan.realism_result import Curve, Realism

__all__ = ["POOR", "Advice", "advise"]

POOR = 1.5
"""A distance is poor from this many floors on."""
POOR_ACCURACY = 0.65
"""And the network's accuracy from here on."""

_FINE = 0.05
"""Cycles a pixel above which noise, blur and texture decide the spectrum, and not sizes."""
_SMOOTH = 5
_RIM_PX = (1, 5)
_HALO_PX = (-6, -2)


@dataclasses.dataclass(frozen=True, slots=True)
class Advice:
    """label: of the measure. text: what differs, and what to try."""

    label: str
    text: str


def advise(realism: Realism) -> list[Advice]:
    """One sentence or two for each poor measure, the worst first; empty if there is none."""
    told = {"grey": _grey, "spectrum": _spectrum, "edges": _edges, "noise": _noise}
    curves = {curve.name: curve for curve in realism.curves}
    poor = []
    for name, measure in realism.measures.items():
        label = MEASURES[name][0]
        if name == "two_sample":
            if measure.value >= POOR_ACCURACY:
                poor.append((0.0, Advice(label, _network(measure.value))))
        elif measure.ratio >= POOR and name in curves:
            poor.append((measure.ratio, Advice(label, told[name](curves[name]))))
    return [advice for _, advice in sorted(poor, key=lambda each: -each[0])]


def _grey(curve: Curve) -> str:
    means = [float(y @ curve.x) for y in (curve.real, curve.rendered)]
    if abs(means[0] - means[1]) < 2:  # noqa: PLR2004 - grey levels
        return (
            "the mean level is right, but not how levels spread: compare the share of the picture that particles cover "
            "(scene.placement), then how much brightness differs between particles and between pictures."
        )
    word = "brighter" if means[1] > means[0] else "darker"
    return (
        f"rendered pictures are {word} by {abs(means[1] - means[0]):.0f} levels on average: first compare the share of "
        "the picture that particles cover (scene.placement, scene.sizes), then brightness and detector.gain."
    )


def _spectrum(curve: Curve) -> str:
    apart = np.convolve(curve.rendered - curve.real, np.full(_SMOOTH, 1 / _SMOOTH), mode="same")
    most = int(np.argmax(np.abs(apart)))
    word = "much" if apart[most] > 0 else "little"
    said = f"too {word} structure of about {1 / curve.x[most]:.0f} pixels, by up to {abs(apart[most]):.0f} dB: "
    if curve.x[most] > _FINE:
        less = "less noise or fine texture, or a greater detector.blur_px"
        return said + (less if apart[most] > 0 else "more fine texture or noise, or a smaller detector.blur_px") + "."
    return (
        said + "compare sizes and crowding (scene.sizes, scene.placement) and the structures of the ground, and check "
        "that the pixel size is that of the pictures."
    )


def _edges(curve: Curve) -> str:
    apart = curve.rendered - curve.real

    def mean(span: tuple[int, int]) -> float:
        return float(apart[(curve.x >= span[0]) & (curve.x <= span[1])].mean())

    rim, halo = mean(_RIM_PX), mean(_HALO_PX)
    if abs(rim) >= abs(halo):
        word = "bright" if rim > 0 else "dark"
        return (
            f"the first pixels inside an outline are too {word}, by {abs(rim):.0f} % of the contrast: compare rims, "
            "the brightness of low against high particles, and detector.blur_px."
        )
    word = "bright" if halo > 0 else "dark"
    return (
        f"the ground beside particles is too {word}, by {abs(halo):.0f} % of the contrast: compare the shadow that "
        "particles cast on the ground (ambient) and detector.blur_px."
    )


def _noise(curve: Curve) -> str:
    apart = curve.rendered - curve.real
    known = np.isfinite(apart)
    if not known.any():
        return "no brightness occurs in both sets: mend the grey levels first."
    dark, bright = (float(half.mean()) for half in np.array_split(apart[known], 2)) if known.sum() > 1 else (0.0, 0.0)
    where, field, most = (
        ("dark", "detector.read_noise", dark) if abs(dark) > abs(bright) else ("bright", "detector.shot_noise", bright)
    )
    word = "much" if most > 0 else "little"
    return f"too {word} noise in {where} parts, by {abs(most):.1f} levels: change {field}, or texture as fine as noise."


def _network(accuracy: float) -> str:
    return (
        f"a network tells unseen patches apart in {accuracy:.0%} of cases: mend the other measures first; where they "
        "are good, look for shapes, crowding and marks that real patches have and rendered ones do not."
    )
