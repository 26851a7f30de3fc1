"""Planning: arithmetic on measured figures, and the simulation of many nodes with the stream's own flights."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanostream.bench.plan import BYTES_A_PIXEL, Measured, make_plan
from nanostream.bench.plan_measure import taking_seconds
from nanostream.bench.simulate import simulate, table
from nanostream.bench.simulate_nodes import Nodes, Scenario
from nanostream.cli import app
from nanostream.cli.bench import Bench
from nanostream.errors import StreamError

if TYPE_CHECKING:
    import pathlib

MEASURED = Measured(
    unit="core",
    kind="some processor",
    units_here=16,
    backend="llvm_ad_mono",
    samples_per_second=20.0,
    taking_seconds=0.0005,
    resident_bytes=400_000_000,
)


def test_plan_for_400_samples_a_second() -> None:
    """400 samples/s at 20 a core need 22 cores with a tenth to spare, and 78.6 MB/s at 256 x 256."""
    plan = make_plan(MEASURED, train_rate=400, height=256, width=256)
    assert (plan.workers, plan.machines, plan.ranks) == (22, 2, 1)
    assert plan.sample_bytes == 256 * 256 * BYTES_A_PIXEL
    assert plan.network_bytes_per_second == pytest.approx(78.6e6, rel=0.001)
    assert plan.store_bytes_per_second == 2 * plan.network_bytes_per_second
    assert plan.memory_bytes == 22 * MEASURED.resident_bytes
    assert plan.next_limit is not None
    assert plan.next_limit.what.startswith("a link of 1 Gbit/s")
    assert plan.next_limit.samples_per_second == pytest.approx(0.8 * 1e9 / 8 / plan.sample_bytes)


@given(rate=st.floats(0.1, 1e5), size=st.integers(16, 2048), each=st.floats(0.1, 1e4), taking=st.floats(1e-6, 0.1))
def test_a_plan_is_enough_and_hardly_more(rate: float, size: int, each: float, taking: float) -> None:
    """Whatever is measured, the workers are enough with one fewer not being so, and limits lie in order."""
    measured = dataclasses.replace(MEASURED, samples_per_second=each, taking_seconds=taking)
    plan = make_plan(measured, train_rate=rate, height=size, width=size)
    assert plan.workers * each >= rate * 1.0999
    assert (plan.workers - 1) * each <= rate * 1.1001
    assert plan.ranks * 0.8 / taking >= rate * 0.9999
    limits = [limit.samples_per_second for limit in plan.limits if limit.samples_per_second > rate]
    assert (plan.next_limit and plan.next_limit.samples_per_second) == min(limits, default=None)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    """A rate that no training has is an error that says what was expected."""
    with pytest.raises(StreamError, match="above 0"):
        make_plan(MEASURED, train_rate=rate, height=8, width=8)


@pytest.mark.slow
def test_taking_a_sample_is_measured() -> None:
    """What taking a sample costs is a little processor time, measured in this process alone."""
    assert 0 < taking_seconds(height=32, width=32, batches=4) < 0.1


@pytest.mark.slow
def test_bench_plan_prints_what_an_operator_asks(capsys: pytest.CaptureFixture[str]) -> None:
    """The command says cores, network, store and the next limit, and ends with one line."""
    assert app.main(["bench", "plan", "--train-rate", "400", "--size", "64", "-n", "3"]) == 0
    said = capsys.readouterr().out
    for word in ("measured", "render", "network", "store", "in flight", "ranks", "limit", "next"):
        assert word in said
    assert "for 400 samples/s of tio2-sem, 64x64 pixels" in said.splitlines()[-1]


def test_quiet_nodes_are_kept_busy() -> None:
    """With nothing lost, nearly all that the workers could render is taken, on one rank and in step on several."""
    for nodes in (4, 60):
        outcome = simulate(Scenario(nodes=nodes, seconds=20.0).quiet)
        assert outcome.efficiency > 0.97
        assert (outcome.nodes_lost, outcome.leases_again, outcome.leases_hedged) == (0, 0, 0)


def test_lost_nodes_cost_their_leases_and_little_more() -> None:
    """A node that falls silent has its leases rendered elsewhere: more than nine tenths of the rest is taken."""
    outcome = simulate(Scenario(nodes=20, seconds=60.0, loss_every_seconds=20.0).even)
    assert outcome.nodes_lost == 3
    assert outcome.leases_again > 0
    assert outcome.leases_hedged > 0
    assert 0.9 < outcome.efficiency < 1.0


def test_stragglers_are_counted_and_seeds_repeat() -> None:
    """Slow leases cost throughput, and the same seed gives the same outcome."""
    scenario = dataclasses.replace(Scenario(nodes=20, seconds=20.0).quiet, slow_leases=0.01)
    slow, again = simulate(scenario), simulate(scenario)
    assert slow.efficiency < 0.97
    assert dataclasses.replace(slow, planner_seconds=0.0) == dataclasses.replace(again, planner_seconds=0.0)


@settings(max_examples=30)
@given(losses=st.lists(st.tuples(st.floats(0, 30), st.integers(0, 3)), max_size=5))
def test_room_is_what_the_nodes_that_are_there_could_render(losses: list[tuple[float, int]]) -> None:
    """Time that a node is gone counts once, however often it is lost, and not beyond the end."""
    scenario = Scenario(nodes=4, workers_per_node=1, replaced_seconds=10.0).even
    pool = Nodes(scenario, range(4), random.Random(0))  # noqa: S311 - nothing secret
    gone = dict.fromkeys(range(4), 0.0)
    back: dict[int, float] = {}
    for at, node in sorted(losses):
        pool.now = at
        pool.lose(node)
        if back.get(node, 0.0) <= at:
            gone[node] += min(10.0, 35.0 - at)
            back[node] = at + 10.0
    assert pool.room(35.0) == pytest.approx((4 * 35.0 - sum(gone.values())) / scenario.sample_seconds)


def test_the_table_has_a_row_for_each_number_of_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    """`nanostream bench simulate` prints a table in Markdown."""
    assert app.main(["bench", "simulate", "--nodes", "4", "8", "--seconds", "2"]) == 0
    head, rule, *rows, last = capsys.readouterr().out.splitlines()
    assert head.count("|") == rule.count("|")
    assert [row.split("|")[1].strip() for row in rows] == ["4", "8"]
    assert last.startswith("Simulated 2 s of up to 8 nodes")
    assert table([]).splitlines() == [head, rule]


def test_the_operators_page_has_the_whole_table(repository: pathlib.Path) -> None:
    """deploy/README.md shows the table as the command prints it by default, up to 1,000 nodes."""
    lines = (repository / "deploy" / "README.md").read_text(encoding="utf-8").splitlines()
    head, rule = table([]).splitlines()
    first = lines.index(head) + 2
    assert lines[first - 1] == rule
    nodes = [line.split("|")[1].strip().replace(",", "") for line in lines[first : lines.index("", first)]]
    assert tuple(map(int, nodes)) == Bench(what="simulate").nodes
    assert nodes[-1] == "1000"
