"""All that a training needs to go on where it stopped, in one file.

The file is safetensors; its header holds one JSON text under `nanostream`, so loading runs no code. It holds the
network, its average, the optimiser's moments, the samples that crops are drawn from, the state of the random numbers
and the stream's place behind the last of those samples.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import torch

from nanostream.errors import ModelError
from nanostream.files import whole_file
from nanostream.segment.progress import Progress

if TYPE_CHECKING:
    from pathlib import Path

    from nanostream.segment.training import Training, TrainingConfig

__all__ = ["TrainingState", "load_state", "save_state"]

STATE_KIND = "nanostream training"
STATE_VERSION = 3
HEADER_KEY = "nanostream"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class TrainingState:
    """A training between two steps."""

    tensors: dict[str, torch.Tensor]
    """`network.`, `averaged.`, `optimizer.<parameter>.` and `window.`, and what follows in each."""
    config: dict[str, Any]
    """Of the training, as plain JSON values."""
    progress: Progress
    window: dict[str, Any]
    """Plain JSON values of the window."""
    place: dict[str, Any]
    """Of the stream, as its `state_dict` gives it."""

    @classmethod
    def of(cls, training: Training, *, place: dict[str, Any]) -> TrainingState:
        """State of a training; what it holds is shared with the training, so save it before the next step."""
        optimizer = training.optimizer.state_dict()["state"]
        tensors, window = training.window.state()
        return cls(
            tensors={
                **{f"network.{name}": value for name, value in training.network.state_dict().items()},
                **{f"averaged.{name}": value for name, value in training.averaged.state_dict().items()},
                **{f"optimizer.{k}.{name}": value for k, each in optimizer.items() for name, value in each.items()},
                **{f"window.{name}": value for name, value in tensors.items()},
            },
            config=_plain(training.config),
            progress=training.progress,
            window=window,
            place=place,
        )

    def check(self, config: TrainingConfig) -> None:
        """Raise ModelError unless the state is one of a training with this config."""
        wanted = _plain(config)
        other = [f"{name} {self.config.get(name)}" for name in wanted if wanted[name] != self.config.get(name)]
        if other:
            msg = (
                f"expected to go on with a training of the same settings, found one with {', '.join(other)}: "
                "give those, or --overwrite to start again"
            )
            raise ModelError(msg)

    def restore(self, training: Training) -> None:
        """Put a training of the same config where this one stood."""
        training.network.load_state_dict(self._part("network."))
        training.averaged.load_state_dict(self._part("averaged."))
        parameters = list(training.network.parameters())
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in self._part("optimizer.").items():
            number, _, moment = name.partition(".")
            parameter = parameters[int(number)]
            # The fused optimiser takes moments and weights to lie in memory in the same order.
            laid = torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
            moments.setdefault(int(number), {})[moment] = laid
        training.optimizer.load_state_dict({**training.optimizer.state_dict(), "state": moments})
        training.window.restore(self._part("window."), self.window)

    def _part(self, prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}


def save_state(state: TrainingState, path: Path) -> None:
    """Write a state, whole or not at all; raises StoreError if it cannot be written."""
    from safetensors.torch import save_file

    header = {
        "kind": STATE_KIND,
        "version": STATE_VERSION,
        "config": state.config,
        "progress": dataclasses.asdict(state.progress),
        "window": state.window,
        "place": state.place,
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.tensors.items()}
    with whole_file(path) as partial:
        save_file(tensors, partial, metadata={HEADER_KEY: json.dumps(header)})


def load_state(path: Path) -> TrainingState:
    """State from a file that `save_state` wrote; raises ModelError if it is another file or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(HEADER_KEY, "{}"))
            tensors: dict[str, torch.Tensor] = {
                name: file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118 - the file is no mapping
            }
    except (OSError, SafetensorError, ValueError) as error:
        msg = f"expected the state of a training in {str(path)!r}, got {error}: --overwrite starts again"
        raise ModelError(msg) from error
    kind, version = header.get("kind"), header.get("version")
    if (kind, version) != (STATE_KIND, STATE_VERSION):
        msg = (
            f"expected the state of a training, version {STATE_VERSION}, in {str(path)!r}, got kind {kind!r}, version "
            f"{version!r}: --overwrite starts again"
        )
        raise ModelError(msg)
    return TrainingState(
        tensors=tensors,
        config=header["config"],
        progress=Progress(**header["progress"]),
        window=header["window"],
        place=header["place"],
    )


def _plain(config: TrainingConfig) -> dict[str, Any]:
    """A config as JSON gives it back."""
    return json.loads(json.dumps(dataclasses.asdict(config)))
