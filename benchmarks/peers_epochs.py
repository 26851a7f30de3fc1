"""Epoch after epoch of a peer's own loader: part of peers.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class Epochs:
    """A loader that is iterated again and again; it goes on from a state if it has one."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def batches(self, state: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
        """Epoch after epoch, from a state on."""
        if state is not None:
            self._loader.load_state_dict(state)
        while True:
            yield from self._loader

    def state(self, batch: dict[str, Any]) -> dict[str, Any] | None:
        """Where its loader stands; None for one that does not tell."""
        del batch
        return self._loader.state_dict() if hasattr(self._loader, "state_dict") else None
