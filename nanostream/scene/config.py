"""SceneConfig: all that decides where which particle lies."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from nanostream.scene.agglomerates import Agglomerates
from nanostream.scene.grain import GrainShape
from nanostream.scene.mesh import MeshShape
from nanostream.scene.network import Network
from nanostream.scene.scattered import Scattered
from nanostream.scene.sizes import LognormalSizes, Sizes
from nanostream.scene.sphere import SphereShape
from nanostream.scene.wire import WireShape

__all__ = ["SceneConfig"]

Shape = Annotated[GrainShape | SphereShape | WireShape | MeshShape, Field(discriminator="kind")]
Placement = Annotated[Agglomerates | Scattered | Network, Field(discriminator="kind")]


class SceneConfig(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """A kind of particle ensemble; `build_ensemble` draws one of them."""

    kind: Literal["particles"] = "particles"
    sizes: Sizes = LognormalSizes(max_nm=450.0)
    """Volume-equivalent diameters; for wires, the diameter of the wire."""
    shape: Shape = GrainShape()
    """What a particle looks like."""
    placement: Placement = Agglomerates()
    """How particles lie; wires need `network`, and only wires have it."""

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if (self.shape.kind == "wire") != (self.placement.kind == "network"):
            msg = (
                f"expected shape wire together with placement network, got shape "
                f"{self.shape.kind} with placement {self.placement.kind}"
            )
            raise ValueError(msg)
        return self
