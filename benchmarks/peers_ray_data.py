"""A Ray Data pipeline that renders in `map_batches`: part of peers.py."""

from __future__ import annotations

import pathlib
import tempfile
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from peers_dataloader import LENGTH
from peers_renderers import RENDERERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peers_loop import Settings


class _Map:
    """The function of `map_batches`, an actor for each worker."""

    def __init__(self, renderer: str, recipe: str, seed: int) -> None:
        self._render = RENDERERS[renderer](recipe, seed=seed)

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        ones = [self._render(int(index)) for index in rows["id"]]
        return {name: np.stack([one[name] for one in ones]) for name in ones[0]}


class _RayData:
    renderer = ""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def batches(self, state: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
        """From the first sample on."""
        del state
        import ray
        import ray.data

        warnings.simplefilter("ignore")
        folder = tempfile.mkdtemp(prefix="ns-peer-", dir=self._settings.folder)
        python_path = str(pathlib.Path(__file__).parent)
        ray.init(
            address="local",
            # One more on paper: reading the indices is a task too.
            num_cpus=self._settings.workers + 1,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            runtime_env={"env_vars": {"PYTHONPATH": python_path}},
            _temp_dir=folder,
        )
        ray.data.DataContext.get_current().enable_progress_bars = False
        size = self._settings.batch_size
        # Blocks of one batch, so that the first sample need not wait for many others.
        source = ray.data.range(LENGTH // 100, override_num_blocks=LENGTH // 100 // size)
        rendered = source.map_batches(
            _Map,
            fn_constructor_args=(self.renderer, self._settings.recipe, self._settings.seed),
            batch_size=size,
            concurrency=self._settings.workers,
            num_cpus=1,
        )
        return iter(rendered.iter_batches(batch_size=size))

    def state(self, batch: dict[str, Any]) -> None:
        """Ray Data has none."""
        del batch


class RayDataMitsuba(_RayData):
    """Actors that call Mitsuba."""

    renderer = "mitsuba"


class RayDataRender(_RayData):
    """Actors that call this project's renderer."""

    renderer = "own"
