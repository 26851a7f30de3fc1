"""What `nanostream bench` measures on the user's machine, and the report of everything that can be measured there.

render, plan, simulate, scaling, cost, soak: one figure each. sections, report, machine, chart: all of them and the
comparisons in benchmarks/, as one page.
"""

from __future__ import annotations
