"""How many samples the picture takes."""

from __future__ import annotations

import pydantic

__all__ = ["Camera"]


class Camera(pydantic.BaseModel):
    """Samples a pixel of a box film; the view is from straight above, without perspective.

    Numbers are even: the difference between two halves tells how far off the mean is.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    particle_samples: int = pydantic.Field(default=16, ge=2, le=65536, multiple_of=2)
    """Camera and occlusion rays a pixel on particles."""
    edge_samples: int = pydantic.Field(default=32, ge=2, le=65536, multiple_of=2)
    """Camera and occlusion rays a pixel where the one beside, above or below shows something else."""
    ground_samples: int = pydantic.Field(default=16, ge=2, le=65536, multiple_of=2)
    """Occlusion rays a pixel on the rest of the ground, where few pixels are sampled: see `Lattice`."""
