"""`nanostream bench`: what this machine reaches, and what a training on a cluster needs."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from nanostream.cli.options import Count, Seed, load_recipe
from nanostream.errors import StoreError

if TYPE_CHECKING:
    from nanostream.bench.plan import Measured, Plan

__all__ = ["Bench", "Part"]

_NODES = (10, 50, 100, 300, 1000)
_QUICK_LIMIT_SECONDS = 240.0

Part = Literal[
    "render",
    "stream",
    "chaos",
    "storage",
    "gateway",
    "realism",
    "segmentation",
    "peers",
    "pools",
    "scaling",
    "simulate",
    "soak",
]
"""Names of `bench.sections.SECTIONS`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure what this machine reaches, and say what a training on a cluster needs."""

    what: Annotated[Literal["render", "plan", "simulate", "scaling", "soak", "all"], tyro.conf.Positional]
    """render: one process on one thread. plan: what feeds a training. simulate: many nodes, as some die. scaling: one
    worker to as many as there are cores, and what samples cost. soak: a training, and what it does to throughput,
    memory and file handles. all: these and the comparisons in benchmarks/, as one report."""

    preset: Annotated[str, tyro.conf.arg(metavar="PRESET")] = "tio2-sem"
    """Name of a preset, or path of a recipe file (JSON)."""

    count: Count = 60
    """Samples to time, after the first."""

    train_rate: float = 400.0
    """plan: samples that the training takes a second."""

    size: int | None = None
    """plan: height and width of the picture in pixels; the recipe's own by default."""

    nodes: tuple[int, ...] = _NODES
    """simulate: numbers of nodes, a row each."""

    seconds: float | None = None
    """simulate: time to simulate, 120 by default. scaling: of each turn, 10 by default."""

    rounds: int = 3
    """scaling: how often each number of workers has its turn."""

    workers: int = 0
    """scaling: the most of them, all cores by default. soak: as many, half the cores by default."""

    price: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="NAME=PRICE/WORKERS")] = ()
    """scaling: what a machine costs an hour and how many workers it runs, such as "16 cores=0.68/16"."""

    minutes: float = 2.0
    """soak: how long it trains."""

    quick: bool = False
    """all: each part in a short form; ten minutes on two cores."""

    only: tuple[Part, ...] = ()
    """all: run these parts alone; the report keeps what is in the folder of the others."""

    pictures: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="DIR")] = None
    """all: annotated pictures, images/ and masks/ of equal names."""

    benchmarks: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="DIR")] = None
    """all: folder of the comparisons; by default that of the checkout."""

    peer_python: str | None = None
    """all: python of an environment with MosaicML streaming and litData."""

    blender_python: str | None = None
    """all: python of an environment with bpy."""

    out: Annotated[pathlib.Path, tyro.conf.arg(aliases=["-o"], metavar="DIR")] = pathlib.Path("report")
    """scaling, soak, all: folder for JSON, plots and the report."""

    seed: Seed = 0
    """Seed of the stream, or of what is lost."""

    def run(self) -> None:
        """Print the figures."""
        getattr(self, f"_{self.what}")()

    def _render(self) -> None:
        from rich.console import Console

        from nanostream.bench.render import measure_render

        recipe = load_recipe(self.preset)
        with Console(stderr=True).status(f"rendering {self.count + 1} samples of {self.preset}"):
            figures = measure_render(recipe, samples=self.count, seed=self.seed)
        print(f"first sample  {figures.first_sample_seconds:.1f} s after the start of the process")
        print(f"after it      {figures.samples_per_second:.1f} samples/s")
        print(f"processor     {figures.cpu_seconds / figures.seconds:.2f} of one core")
        print(
            f"Rendered {figures.samples + 1} samples of {self.preset}, "
            f"{figures.height}x{figures.width} pixels, on {figures.backend}, one process, one thread."
        )

    def _plan(self) -> None:
        from rich.console import Console

        from nanostream.bench.plan import make_plan
        from nanostream.bench.plan_measure import measure

        settings = () if self.size is None else (f"picture.height={self.size}", f"picture.width={self.size}")
        recipe = load_recipe(self.preset, settings)
        with Console(stderr=True).status("measuring a render worker, and a process that takes samples"):
            measured = measure(recipe, samples=self.count, seed=self.seed)
        picture = recipe.picture
        plan = make_plan(measured, train_rate=self.train_rate, height=picture.height, width=picture.width)
        _print_plan(measured, plan)
        print(
            f"Planned {plan.workers} {measured.unit}s of {measured.kind} ({measured.backend}) for "
            f"{self.train_rate:g} samples/s of {self.preset}, {picture.height}x{picture.width} pixels."
        )

    def _simulate(self) -> None:
        from rich.console import Console

        from nanostream.bench.simulate import simulate, table
        from nanostream.bench.simulate_nodes import Scenario

        rows, seconds = [], self.seconds or 120.0
        with Console(stderr=True).status("") as status:
            for nodes in self.nodes:
                status.update(f"{seconds:g} s of {nodes} nodes")
                scenario = Scenario(nodes=nodes, seconds=seconds, seed=self.seed)
                rows.append((simulate(scenario.quiet), simulate(scenario.even), simulate(scenario)))
        print(table(rows))
        print(f"Simulated {seconds:g} s of up to {max(self.nodes):,} nodes; plan and flights are the stream's own.")

    def _scaling(self) -> None:
        from rich.console import Console

        from nanostream.bench.chart import lines
        from nanostream.bench.cost import cost_table, parse_price
        from nanostream.bench.scaling import measure_scaling, table
        from nanostream.files import write_json, write_text
        from nanostream.segment.cores import cores

        prices = [parse_price(text) for text in self.price]
        numbers = list(range(1, (self.workers or cores()) + 1))
        recipe, seconds = load_recipe(self.preset), self.seconds or 10.0
        with Console(stderr=True).status(f"1 to {numbers[-1]} workers, {self.rounds} rounds of {seconds:g} s each"):
            found = measure_scaling(recipe, numbers, seconds=seconds, rounds=self.rounds, seed=self.seed)
        print(table(found))
        if prices:
            print(f"\n{cost_table(prices, worker_rate=found[-1].rate / numbers[-1])}")
        write_json(self.out / "scaling.json", {"workers": [one.as_dict() for one in found]})
        if len(numbers) > 1:
            named = {"delivered": [one.rate for one in found], "even": [found[0].rate * number for number in numbers]}
            plot = lines([float(number) for number in numbers], named, title="Samples a second", x_label="workers")
            write_text(self.out / "scaling.svg", plot)
        print(f"\nMeasured 1 to {numbers[-1]} workers on {self.preset}; the figures are in {self.out}.")

    def _soak(self) -> None:
        from rich.console import Console

        from nanostream.bench.soak import chart, soak, table
        from nanostream.files import write_json, write_text

        recipe = load_recipe(self.preset)
        with Console(stderr=True).status(f"training for {self.minutes:g} minutes"):
            found = soak(recipe, minutes=self.minutes, workers=self.workers or None, seed=self.seed)
        print(table(found))
        write_json(self.out / "soak.json", found.as_dict())
        write_text(self.out / "soak.svg", chart(found))
        print(
            f"\nTrained for {self.minutes:g} minutes on {self.preset} from {found.workers} workers; "
            f"the figures are in {self.out}."
        )

    def _all(self) -> None:
        from rich.console import Console

        from nanostream.bench.report import run_sections, write_report
        from nanostream.bench.sections import Sources, find_benchmarks

        sources = Sources(
            out=self.out,
            benchmarks=find_benchmarks(self.benchmarks),
            pictures=self.pictures,
            peer_python=self.peer_python,
            blender_python=self.blender_python,
            prices=self.price,
            seed=self.seed,
        )
        if self.benchmarks is not None and sources.benchmarks is None:
            msg = f"expected a folder with peers.py, got {str(self.benchmarks)!r}: name a checkout's benchmarks/"
            raise StoreError(msg)
        limit = _QUICK_LIMIT_SECONDS if self.quick else None
        with Console(stderr=True).status("") as status:
            records = run_sections(
                sources, quick=self.quick, only=self.only, limit_seconds=limit, on_begin=status.update
            )
        page = write_report(self.out)
        done = sum(record.exit == 0 for record in records)
        print("\n".join(f"{record.name:<14}{record.seconds:6.0f} s  {record.verdict}" for record in records))
        print(f"Measured {done} of {len(records)} parts; the report is {page}.")


def _print_plan(measured: Measured, plan: Plan) -> None:
    millions = 1e6
    print(f"measured   {measured.samples_per_second:.1f} samples/s a {measured.unit}, {measured.kind}")
    print(f"           {1e3 * measured.taking_seconds:.2f} ms of the training's process to take a sample")
    print(f"render     {plan.workers} {measured.unit}s, {plan.machines} machines like this one")
    print(f"           {plan.memory_bytes / 1e9:.1f} GB of memory for the render workers")
    print(f"network    {plan.network_bytes_per_second / millions:.1f} MB/s, {plan.sample_bytes / 1e3:.0f} kB a sample")
    print(f"store      {plan.store_bytes_per_second / millions:.1f} MB/s written into object stores")
    print(f"           {plan.in_flight_bytes / millions:.0f} MB in flight, for each training process at most")
    print(f"ranks      {plan.ranks} at least, to take the samples")
    for limit in sorted(plan.limits, key=lambda limit: limit.samples_per_second):
        print(f"limit      {limit.samples_per_second:,.0f} samples/s: {limit.what}")
    following = plan.next_limit
    if following is not None:
        print(f"next       {following.what}, at {following.samples_per_second:,.0f} samples/s; {following.remedy}")
