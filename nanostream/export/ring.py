"""An endless stream written into a ring of slots, until it is told to end."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from nanostream.export.encoding import encoded, leases, open_encoding
from nanostream.export.ending import ended_by_signals
from nanostream.formats.folder import open_folder
from nanostream.formats.nbytes import parse_bytes
from nanostream.formats.window import Window
from nanostream.seeding import MAX_INDEX, check_index, check_seed
from nanostream.stream.engine import SYNTH

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from nanostream.stream.engine import StreamRecipe, Synthesizer

__all__ = ["export_window"]


def export_window(
    recipe: StreamRecipe,
    *,
    window: int | str,
    out: str | os.PathLike[str],
    format: str = "webdataset",  # noqa: A002 the word that the command has too
    seed: int = 0,
    start: int = 0,
    count: int | None = None,
    slots: int | None = None,
    engine: str = "auto",
    workers: int = 1,
    address: str | None = None,
    synth: str | Callable[..., Synthesizer] = SYNTH,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write an endless stream into a ring of slots, see formats/window.py.

    window: bytes that the folder takes at most, or a text such as "20GB". format: "webdataset" or
    "zarr". count: samples to write before it ends; None: none. Ctrl-C and SIGTERM end it, with what was
    rendered in a last slot. slots: how many, or as many as `window` asks for. A ring that is there
    already is gone on with. Returns the index behind the last sample written. The rest, and what it
    raises, as for `export`.
    """
    check_seed(seed)
    check_index(start)
    ring = Window(
        open_folder(out),
        format=format,
        limit_bytes=parse_bytes(window) if isinstance(window, str) else window,
        recipe_hash=recipe.hash,
        recipe=json.loads(recipe.dump()),
        seed=seed,
        slots=slots,
    )
    first = start if ring.next_index is None else ring.next_index
    told = {"seed": seed, "engine": engine, "workers": workers, "address": address}
    with open_encoding(recipe, format=format, synth=synth, **told) as source:
        every = range(first, MAX_INDEX + 1) if count is None else range(first, first + count)
        with contextlib.closing(encoded(source, leases(every))) as stream, ended_by_signals():
            with contextlib.suppress(KeyboardInterrupt):
                for sample in stream:
                    ring.add(sample)
                    if progress is not None:
                        progress(1)
            ring.end()
    return first if ring.next_index is None else ring.next_index
