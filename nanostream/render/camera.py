"""How many samples the picture takes."""

from __future__ import annotations

import pydantic

__all__ = ["Camera"]


class Camera(pydantic.BaseModel):
    """Samples a pixel of a box film; the view is from straight above, without perspective."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    particle_samples: int = pydantic.Field(default=16, ge=1, le=65536)
    """Camera and occlusion rays a pixel on particles and next to them."""
    ground_samples: int = pydantic.Field(default=4, ge=1, le=65536)
    """Camera and occlusion rays a pixel elsewhere; the ground's light varies slowly."""
