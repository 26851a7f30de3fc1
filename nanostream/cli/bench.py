"""`nanostream bench`: what this machine reaches, and what a training on a cluster needs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from nanostream.cli.options import Count, Seed, load_recipe

if TYPE_CHECKING:
    from nanostream.bench.plan import Measured, Plan

__all__ = ["Bench"]

_NODES = (10, 50, 100, 300, 1000)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """Measure what this machine reaches, and say what a training on a cluster needs."""

    what: Annotated[Literal["render", "plan", "simulate"], tyro.conf.Positional]
    """render: one process on one thread. plan: what feeds a training. simulate: many nodes, as some die."""

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

    seconds: float = 120.0
    """simulate: time to simulate."""

    seed: Seed = 0
    """Seed of the stream, or of what is lost."""

    def run(self) -> None:
        """Print the figures."""
        if self.what == "render":
            self._render()
        elif self.what == "plan":
            self._plan()
        else:
            self._simulate()

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

        rows = []
        with Console(stderr=True).status("") as status:
            for nodes in self.nodes:
                status.update(f"{self.seconds:g} s of {nodes} nodes")
                scenario = Scenario(nodes=nodes, seconds=self.seconds, seed=self.seed)
                rows.append((simulate(scenario.quiet), simulate(scenario.even), simulate(scenario)))
        print(table(rows))
        print(
            f"Simulated {self.seconds:g} s of up to {max(self.nodes):,} nodes; plan and flights are the stream's own."
        )


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
