"""Scenes: particle ensembles in nanometres. Numbers only, no renderer.

Read sizes, then the shapes (solid, grain, sphere, mesh, wire), the placements (pile, agglomerates,
scattered, network), config, and ensemble, which draws them together.
"""

from __future__ import annotations

from nanostream.scene.config import SceneConfig
from nanostream.scene.ensemble import Ensemble, build_ensemble

__all__ = ["Ensemble", "SceneConfig", "build_ensemble"]
