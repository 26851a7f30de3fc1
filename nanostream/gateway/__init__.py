"""The stream over HTTP: samples, WebDataset shards and Zarr chunks, rendered when they are asked for.

    request -> guard (token, host, log) -> app (routes) -> larder (kept, or rendered once) -> gate (room, or 429)
            -> desk (one thread, many orders, one pool of render workers) -> order (recipe, seed, index, format)

Nothing is remembered between requests but what can be rendered again, so that any number of servers
of the same recipes and versions give the same bytes.
"""

from __future__ import annotations

__all__: list[str] = []
