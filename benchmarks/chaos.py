"""Chaos: what a stream keeps while workers, nodes and drivers die. Prints a table.

    python benchmarks/chaos.py                     each disturbance once
    python benchmarks/chaos.py --minutes 10        with another seed each time, for ten minutes
    python benchmarks/chaos.py --quick             the driver once, whose start takes longest

Each row is a few hundred cheap samples. `same` compares the SHA-256 over all that was consumed, in
order, with that of an undisturbed renderer; `missing` and `twice` count indices; `gap` is the longest
wait for a sample; `peak` the bytes asked for and not handed on; `end` the time to shut down.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import sys
import time
import warnings

from chaos_machines import killed_driver, killed_node
from chaos_row import Row, table, worst
from chaos_workers import IN_ONE_RAY, small_ray


def main() -> int:
    """Run all rows, again and again for the minutes asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    words = parser.parse_args()
    driver = functools.partial(killed_driver, times=1 if words.quick else 2)
    warnings.simplefilter("ignore")
    rows: list[Row] = []
    until = time.monotonic() + 60 * words.minutes
    for seed in itertools.count(words.seed):
        # Ray prints there what it thinks of each death.
        with contextlib.redirect_stdout(sys.stderr):
            with small_ray():
                rows += [disturbance(seed) for disturbance in IN_ONE_RAY]
            rows += [disturbance(seed) for disturbance in (killed_node, driver)]
        if time.monotonic() >= until:
            break
    print(table(worst(rows)))
    print(f"\n{len(rows)} disturbances, {sum(row.samples for row in rows)} samples, seeds from {words.seed}.")
    return 0 if all(row.whole for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
