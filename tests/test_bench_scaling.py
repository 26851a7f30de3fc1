"""Scaling, cost and soak: what they measure in tiny forms, and the plots that they draw."""

from __future__ import annotations

import dataclasses
import functools
import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanostream.bench.chart import bars, lines
from nanostream.bench.cost import Price, cost_table, parse_price
from nanostream.bench.scaling import measure_scaling, table
from nanostream.bench.soak import Mark, Soak, chart, soak
from nanostream.bench.soak import table as soak_table
from nanostream.cli import app
from nanostream.errors import StreamError
from nanostream.recipe import Recipe
from nanostream.testing import FakeRecipe, FakeSynth

if TYPE_CHECKING:
    import pathlib

SVG = "{http://www.w3.org/2000/svg}"


def test_cost_is_price_over_samples() -> None:
    """A machine of 16 workers at 20 samples/s each renders 1,152,000 an hour: 0.68 an hour is 0.00059 a thousand."""
    price = parse_price("16 cores, spot=0.68/16")
    assert price == Price(name="16 cores, spot", hourly=0.68, workers=16)
    assert price.of_a_thousand(20.0) == pytest.approx(0.68 / 1152)
    assert cost_table([price], worker_rate=20.0).splitlines()[-1] == "| 16 cores, spot | 0.68 | 16 | 320 | 0.0006 |"


@given(hourly=st.floats(0, 1e4), workers=st.integers(1, 10_000), rate=st.floats(0.01, 1e4))
def test_cost_does_not_depend_on_the_number_of_machines(hourly: float, workers: int, rate: float) -> None:
    """Twice the workers at twice the price cost the same."""
    one = Price(name="one", hourly=hourly, workers=workers).of_a_thousand(rate)
    assert Price(name="two", hourly=2 * hourly, workers=2 * workers).of_a_thousand(rate) == pytest.approx(one)


@pytest.mark.parametrize("text", ["", "a", "a=1", "a=1/0", "=1/2", "a=-1/2", "a=x/2", "a=1/1.5", "a=nan/2", "a=inf/2"])
def test_a_price_that_is_none_is_refused(text: str) -> None:
    """Anything but a name, a price and a number of workers is an error that shows an example."""
    with pytest.raises(StreamError, match=r"0\.68/16"):
        parse_price(text)


@pytest.mark.slow
@pytest.mark.usefixtures("own_ray")
def test_more_workers_deliver_more() -> None:
    """Workers that only wait deliver what their number says, in every window of every round."""
    synth = functools.partial(FakeSynth, seconds=0.03)
    one, three = measure_scaling(FakeRecipe(), (1, 3), seconds=2.0, rounds=1, synth=synth)
    assert (one.workers, three.workers) == (1, 3)
    assert len(one.rates) == len(three.rates) == 5
    assert one.efficiency == 1
    # Each waits at least so long for each sample.
    assert one.rate < 1.3 / 0.03
    assert 1.5 * one.rate < three.rate
    assert table([one, three]).splitlines()[-1].startswith("| 3 | ")
    assert json.loads(json.dumps(three.as_dict()))["rate"] == three.rate


def _mark(second: int) -> Mark:
    return Mark(
        seconds=float(second),
        # 10 samples/s for ten seconds, and 9 after them.
        samples=10 * min(second, 10) + 9 * max(0, second - 10),
        wait_seconds=0.5 * second,
        resident_bytes=100_000_000 + 1_000_000 * second,
        workers_bytes=0,
        handles=20 + second // 20,
        restarts=second // 15,
    )


def test_drift_is_the_last_quarter_beside_the_second() -> None:
    """A tenth less throughput, 10 MB more memory and a file handle more are told as such."""
    found = Soak(workers=1, marks=tuple(map(_mark, range(21))))
    told = found.as_dict()
    assert told["throughput_drift"] == pytest.approx(-0.1)
    assert told["memory_growth_bytes"] == 10_000_000
    assert (told["handles_growth"], told["restarts"]) == (1, 1)
    assert found.waited(3) == pytest.approx(0.5)
    assert "| 4 beside 2 | -10.0% | | +10.0 MB | +0.0 MB | +1 | |" in soak_table(found)
    assert ET.fromstring(chart(found)).tag == f"{SVG}svg"  # noqa: S314 - our own


@pytest.mark.slow
def test_a_soak_trains_and_looks() -> None:
    """A few seconds of training take samples all the time, open no file for good, and lose no render worker."""
    recipe = Recipe.preset("tio2-sem").replaced("picture.height=128", "picture.width=128")
    found = soak(recipe, minutes=0.3, workers=1, engine="local")
    assert found.marks[-1].samples > found.marks[0].samples > 0
    assert found.marks[0].seconds == 0
    assert all(a.seconds < b.seconds for a, b in zip(found.marks, found.marks[1:], strict=False))
    assert dataclasses.asdict(found.marks[-1])["resident_bytes"] > 50e6
    told = found.as_dict()
    assert abs(told["handles_growth"]) < 5
    assert told["restarts"] == 0


def test_bars_are_as_long_as_their_figures() -> None:
    """Lengths go with the values, or with their logarithms, and every name and number is there."""
    page = ET.fromstring(bars({"a & b": 10.0, "c": 5.0, "none": 0.0}, title="Rates", unit="/s"))  # noqa: S314 - ours
    lengths = [float(bar.get("width", "")) for bar in page.findall(f"{SVG}rect")[1:]]
    assert lengths[0] == pytest.approx(2 * lengths[1])
    assert lengths[2] == 1.0
    words = [text.text for text in page.findall(f"{SVG}text")]
    assert {"a & b", "10 /s", "Rates"} <= set(words)
    page = ET.fromstring(bars({"a": 1000.0, "b": 100.0, "c": 10.0}, title="Rates", log=True))  # noqa: S314 - ours
    a, b, c = (float(bar.get("width", "")) for bar in page.findall(f"{SVG}rect")[1:])
    assert a - b == pytest.approx(b - c, abs=0.2)


def test_lines_stay_inside_their_picture() -> None:
    """Every point of a plot lies within it, also where all values are equal."""
    for values in ([1.0, 3.0, 2.0], [0.0, 0.0, 0.0], [5.0, 5.0, 5.0]):
        page = ET.fromstring(lines([1.0, 2.0, 4.0], {"a": values}, title="t", x_label="x"))  # noqa: S314 - ours
        line = page.find(f"{SVG}polyline")
        assert line is not None
        for point in str(line.get("points")).split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= 720
            assert 0 <= y <= 240


@pytest.mark.slow
def test_the_command_prints_and_writes(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`nanostream bench scaling` prints the table and the cost, writes JSON, and ends with one line."""
    words = ["--workers", "1", "--rounds", "1", "--seconds", "0.5", "--price", "a=1/2", "-o", str(tmp_path)]
    assert app.main(["bench", "scaling", *words]) == 0
    said = capsys.readouterr().out.splitlines()
    assert any(line.startswith("| 1 | ") for line in said)
    assert any(line.startswith("| a | 1 | 2 | ") for line in said)
    assert said[-1].startswith("Measured 1 to 1 workers")
    assert json.loads((tmp_path / "scaling.json").read_text())["workers"][0]["workers"] == 1
