"""The report of a fit: one file, everything in it, nothing outside, and advice that follows the curves."""

from __future__ import annotations

import dataclasses
import html.parser
import math
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
import scipy.ndimage

from nanostream.errors import PictureError, StoreError
from nanostream.gan.realism import Measure, measure
from nanostream.gan.report import write_report
from nanostream.gan.report_advice import advise
from nanostream.gan.report_plot import bars, lines

if TYPE_CHECKING:
    import pathlib

    from nanostream.gan.realism import Realism


def pictures(count: int, *, seed: int, noise: float = 4.0, blur: float = 1.0, level: float = 30.0) -> list[np.ndarray]:
    """Bright discs on ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:160, :160]
    made = []
    for _ in range(count):
        clean = np.full((160, 160), level)
        for row, column, radius in rng.uniform((0, 0, 10), (160, 160, 25), (6, 3)):
            clean[np.hypot(y - row, x - column) < radius] = level + 100
        noisy = scipy.ndimage.gaussian_filter(clean, blur) + noise * rng.standard_normal(clean.shape)
        made.append(noisy.round().clip(0, 255).astype(np.uint8))
    return made


REAL = pictures(6, seed=0)


def realism(**changes: float) -> Realism:
    """Of pictures with other settings."""
    return measure(REAL, pictures(6, seed=1, **changes), two_sample=False)


class Page(html.parser.HTMLParser):
    """Tags in order, addresses that they point to, and tags that are open at the end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the tag and its address."""
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "srcset"}]
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Tags that close themselves."""
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Each end belongs to the tag that is open."""
        assert self.open.pop() == tag


def test_everything_is_in_one_file(tmp_path: pathlib.Path) -> None:
    """Patches, measures, curves, parameters, sizes, course, settings and notes are there, and no address outside."""
    rng = np.random.default_rng(0)
    result = write_report(
        tmp_path / "new" / "report.html",
        real=REAL,
        rendered=pictures(6, seed=1),
        realism=realism(),
        baseline=realism(noise=12.0),
        parameters={"rim": rng.normal(0.5, 0.1, 200), "blur (px)": np.full(50, 0.75)},
        sizes_nm=rng.lognormal(5, 0.4, 500),
        history=[{"step": k, "loss": math.exp(-k / 50)} | ({"score": 2.0} if k % 50 == 0 else {}) for k in range(201)],
        chosen_step=150,
        settings={"pictures": 6, "seed": 0},
        notes=["a.tif: 56 rows cut off below: a footer"],
        title="TiO2 & friends",
    )
    text = result.read_text("utf-8")
    page = Page(text)
    assert not page.open
    assert page.tags.count("img") == 24
    assert page.tags.count("svg") == 4 + 2 + 1 + 2
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not re.search(r"https?://|@import|url\(", text)
    assert "TiO2 &amp; friends" in text
    for words in ("Power spectra", "blur (px): median 0.75", "D50", "56 rows cut off", "before", "broken line"):
        assert words in text
    assert list(tmp_path.joinpath("new").iterdir()) == [result]


def test_little_will_do(tmp_path: pathlib.Path) -> None:
    """Without parameters, sizes, history and settings the report is whole, and their headings are left out."""
    rendered = pictures(2, seed=1)
    text = write_report(tmp_path / "r.html", real=REAL, rendered=rendered, realism=realism()).read_text("utf-8")
    assert not Page(text).open
    assert not any(words in text for words in ("Learned parameters", "Sizes used", "Course", "Settings"))


def test_what_comes_from_outside_is_text(tmp_path: pathlib.Path) -> None:
    """Names and notes with markup are shown as they are, never run."""
    evil = "<script>alert(1)</script>"
    text = write_report(
        tmp_path / "r.html",
        real=REAL,
        rendered=REAL,
        realism=realism(),
        parameters={evil: np.ones(3)},
        settings={evil: evil},
        notes=[evil],
        title=evil,
    ).read_text("utf-8")
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 5


def test_places_that_cannot_be_written_are_refused(tmp_path: pathlib.Path) -> None:
    """A file where a folder must be is a StoreError, a picture under a patch's size a PictureError."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="another place"):
        write_report(tmp_path / "file" / "r.html", real=REAL, rendered=REAL, realism=realism())
    with pytest.raises(PictureError, match="128x128"):
        write_report(tmp_path / "r.html", real=[np.ones((50, 50))], rendered=REAL, realism=realism())
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("changes", "label", "words"),
    [
        ({"noise": 10.0}, "Noise", "too much noise"),
        ({"noise": 1.0}, "Noise", "too little noise"),
        ({"blur": 3.0}, "Power", "a smaller detector.blur_px"),
        ({"level": 60.0}, "Grey", "brighter by"),
        ({"level": 10.0}, "Grey", "darker by"),
    ],
)
def test_advice_follows_what_differs(changes: dict[str, float], label: str, words: str) -> None:
    """Too much noise, too little of it, blur and brightness are each told apart, with their direction."""
    told = {each.label.split()[0]: each.text for each in advise(realism(**changes))}
    assert words in told[label]


def test_good_measures_need_no_advice() -> None:
    """Pictures of the same kind get none; a network that tells them apart is named nevertheless."""
    measured = realism()
    at_floor = {name: dataclasses.replace(each, value=each.floor) for name, each in measured.measures.items()}
    good = dataclasses.replace(measured, **at_floor)
    assert advise(good) == []
    apart = Measure(value=0.9, floor=0.5, spread=0.0, floor_spread=0.0)
    assert "90%" in advise(dataclasses.replace(good, two_sample=apart))[0].text


def test_lines_end_where_values_are_missing() -> None:
    """NaN parts a line into two; one value and equal values are drawn as well."""
    plot = lines(np.arange(5.0), {"real": np.array([1, 2, np.nan, 4, 5.0])}, title="", x_label="", mark=2.0)
    assert [len(part.split()) for part in plot["lines"][0]["parts"]] == [2, 2]
    assert plot["left"] < plot["mark"] < plot["right"]
    flat = lines(np.arange(3.0), {"real": np.full(3, 7.0)}, title="", x_label="")
    assert "nan" not in str(flat)
    nothing = lines(np.arange(3.0), {"real": np.full(3, np.nan)}, title="", x_label="")
    assert nothing["lines"][0]["parts"] == []


@pytest.mark.parametrize("values", [np.array([3.0]), np.zeros(10), np.arange(1000.0) * 1e-6, np.array([-1e6, 1e6])])
def test_bars_lie_in_their_plot(values: np.ndarray) -> None:
    """Bars of one value, equal, small and large ones lie within the axes, with sensible ticks."""
    plot = bars(values, title="", x_label="")
    assert plot["bars"]
    for bar in plot["bars"]:
        assert plot["left"] <= bar["x"] <= plot["right"]
        assert plot["top"] - 0.1 <= bar["y"] <= plot["base"]
    assert 1 <= len(plot["x_ticks"]) <= 7
