"""The report of a fit: one HTML file that needs no network and nothing beside it.

Legend: H, W = picture height and width, P = edge of a patch, in pixels; n = values drawn.
"""

from __future__ import annotations

import base64
import importlib.metadata
import importlib.resources
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nanostream.files import write_text
from nanostream.gan.realism_curves import PATCH_PX, TILE_PX, levels, tiles
from nanostream.gan.realism_result import MEASURES
from nanostream.gan.report_advice import POOR, advise
from nanostream.gan.report_plot import bars, lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from nanostream.gan.realism_result import Realism

__all__ = ["write_report"]

_COLUMNS = 6
_ROWS = 2
_SMOOTH = 5
"""Grey levels that the plot of their shares is smoothed over."""
_CURVE_LABELS = {
    "grey": "grey level (share of pixels, square root)",
    "spectrum": "cycles a pixel (power in dB)",
    "edges": "pixels inside the outline (percent of the contrast)",
    "noise": "grey level (deviation of the noise, levels)",
}


def write_report(
    path: str | Path,
    *,
    real: Sequence[npt.NDArray[Any]],
    rendered: Sequence[npt.NDArray[Any]],
    realism: Realism,
    baseline: Realism | None = None,
    parameters: Mapping[str, npt.NDArray[np.float64]] | None = None,
    sizes_nm: npt.NDArray[np.float64] | None = None,
    history: Sequence[Mapping[str, float]] = (),
    chosen_step: int | None = None,
    settings: Mapping[str, object] | None = None,
    notes: Sequence[str] = (),
    title: str = "Texture fit",
) -> Path:
    """Write the report of a fit, whole or not at all; returns the path.

    real, rendered: pictures, (H, W) uint8 or uint16 or floating in [0, 1], that patches are cut from; the measured ones
    will do. realism: theirs; its curves are drawn. baseline: the same before the fit. parameters: (n,) values that the
    texture draws, by name with unit. sizes_nm: (n,) diameters that the scene draws. history: a mapping a row, with
    `step` and any other numbers; each becomes a plot over the steps, and rows may lack some. chosen_step: the
    checkpoint's. settings: name and value of whatever the model card tells. notes: a sentence each, such as the
    treatments of `Micrograph.notes`. Raises PictureError if a picture is smaller than 128x128 pixels, StoreError if the
    file cannot be written.
    """
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = (importlib.resources.files("nanostream.gan") / "report.html.j2").read_text("utf-8")
    smallest = min(min(picture.shape) for picture in (*real, *rendered))
    patch_px = max(PATCH_PX, min(TILE_PX, smallest))
    text = environment.from_string(template).render(
        title=title,
        verdict=_verdict(realism, baseline),
        columns=_COLUMNS,
        patch_px=patch_px,
        patches=_patches(real, rendered, patch_px),
        realism=realism,
        baseline=baseline,
        measures=_measures(realism, baseline),
        curves=_curves(realism),
        advice=advise(realism),
        poor=POOR,
        parameters=[
            bars(values, title=f"{name}: median {np.median(values):.4g}", x_label="percent of pictures at each value")
            for name, values in (parameters or {}).items()
        ],
        sizes=None if sizes_nm is None else _sizes(sizes_nm),
        history=_history(history, chosen_step),
        chosen=chosen_step is not None,
        settings=dict(settings or {}),
        notes=list(notes),
        version=importlib.metadata.version("nanostream"),
    )
    path = Path(path)
    write_text(path, text)
    return path


def _verdict(realism: Realism, baseline: Realism | None) -> str:
    said = f"The rendered pictures' distances from the real ones are {realism.score:.2f} times the floor"
    if baseline is not None:
        said += f", from {baseline.score:.2f} before"
    if realism.two_sample is not None:
        said += (
            f"; a network tells unseen patches apart in {realism.two_sample.value:.0%} of cases, where 50% is chance"
        )
    return said + "."


def _patches(real: Sequence[npt.NDArray[Any]], rendered: Sequence[npt.NDArray[Any]], edge: int) -> list[dict[str, Any]]:
    """Rows of real and rendered patches in turn, from the flattest to the strongest."""
    picked = {}
    for name, pictures in (("real", real), ("rendered", rendered)):
        cut = [tile for picture in pictures for tile in tiles(levels(picture), edge)]
        cut.sort(key=lambda tile: float(tile.std()))
        # The middles of equal shares: neither the flattest of all nor the strongest.
        at = (np.arange(_ROWS * _COLUMNS) + 0.5) / (_ROWS * _COLUMNS) * len(cut)
        picked[name] = [_png(cut[int(k)]) for k in at]
    return [
        {"name": name, "data": data[row * _COLUMNS : (row + 1) * _COLUMNS]}
        for row in range(_ROWS)
        for name, data in picked.items()
    ]


def _png(tile: npt.NDArray[np.float32]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.rint(tile).astype(np.uint8)).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _measures(realism: Realism, baseline: Realism | None) -> list[dict[str, str]]:
    before = {} if baseline is None else baseline.measures
    return [
        {
            "label": MEASURES[name][0],
            "before": f"{before[name].value:.3g}" if name in before else "",
            "value": f"{each.value:.3g} ± {each.spread:.2g}",
            "floor": f"{each.floor:.3g} ± {each.floor_spread:.2g}",
            "ratio": f"{each.ratio:.2f}",
            "unit": MEASURES[name][1],
        }
        for name, each in realism.measures.items()
    ]


def _curves(realism: Realism) -> list[dict[str, Any]]:
    plots = []
    for curve in realism.curves:
        real, rendered = curve.real, curve.rendered
        if curve.name == "grey":
            # Most pixels are ground: without the root, particles would not be seen. Pictures that were stretched
            # to more contrast lack levels, which would hide the rest.
            window = np.full(_SMOOTH, 1 / _SMOOTH)
            real, rendered = (np.sqrt(np.convolve(shares, window, mode="same")) for shares in (real, rendered))
        named = {"real": real, "rendered": rendered}
        plots.append(lines(curve.x, named, title=MEASURES[curve.name][0], x_label=_CURVE_LABELS[curve.name]))
    return plots


def _sizes(sizes_nm: npt.NDArray[np.float64]) -> dict[str, Any]:
    low, median, high = np.percentile(sizes_nm, [10, 50, 90])
    title = f"{len(sizes_nm)} particles: D10 {low:.0f}, D50 {median:.0f}, D90 {high:.0f} nm by number"
    return bars(sizes_nm, title=title, x_label="diameter in nm (percent of particles)")


def _history(history: Sequence[Mapping[str, float]], chosen_step: int | None) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(name for row in history for name in row if name != "step"))
    plots = []
    for name in names:
        rows = [row for row in history if name in row]
        steps, values = (np.array([row[key] for row in rows], np.float64) for key in ("step", name))
        plots.append(lines(steps, {"course": values}, title=name, x_label="step", mark=chosen_step))
    return plots
