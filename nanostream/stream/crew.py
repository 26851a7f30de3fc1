"""Render workers as named Ray actors: made on terms that travel, found again by name."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import ray

from nanostream.stream.actor import RecipeText, RenderActor, packed
from nanostream.stream.engine import import_path
from nanostream.stream.own import NAMESPACE
from nanostream.stream.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanostream.stream.engine import StreamRecipe, Synthesizer

__all__ = ["Terms", "find", "hire", "known"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a worker renders, with what, and what Ray sets aside for it; plain values, so that they travel."""

    recipe: RecipeText
    factory: str | bytes
    num_cpus: float
    num_gpus: float

    @classmethod
    def of(
        cls, recipe: StreamRecipe, synth: str | Callable[..., Synthesizer], *, num_cpus: float, num_gpus: float
    ) -> Terms:
        """Terms for a recipe; raises StreamError for a renderer that cannot travel."""
        return cls(
            recipe=RecipeText(import_path(type(recipe)), recipe.dump(), recipe.hash),
            factory=synth if isinstance(synth, str) else packed(synth),
            num_cpus=num_cpus,
            num_gpus=num_gpus,
        )

    @property
    def needs(self) -> dict[str, float]:
        """What each worker takes of Ray's resources, by name."""
        return {name: amount for name, amount in (("CPU", self.num_cpus), ("GPU", self.num_gpus)) if amount > 0}


def hire(name: str, terms: Terms) -> Worker:
    """A new worker; it ends with the process that hired it, and starts again whenever it is lost."""
    for aside in (RenderActor.pid, RenderActor.forget):
        # Answered on a thread of their own, while the other one renders. A handle over ray:// cannot say so by call.
        ray.method(concurrency_group="health")(aside)
    actor: Any = ray.remote(concurrency_groups={"health": 1})(RenderActor)  # type: ignore[reportCallIssue]
    handle = actor.options(
        name=name,
        namespace=NAMESPACE,
        num_cpus=terms.num_cpus,
        num_gpus=terms.num_gpus,
        max_restarts=-1,
        max_task_retries=0,
    ).remote(terms.recipe, terms.factory)
    return Worker(name, handle)


def known(name: str) -> bool:
    """Whether there is an actor of that name."""
    try:
        ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        return False
    return True


def find(name: str) -> Worker:
    """The worker of that name; raises Ray's ValueError where there is none."""
    return Worker(name, ray.get_actor(name, namespace=NAMESPACE))
