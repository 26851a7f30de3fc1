"""The BSDF against Mitsuba's own plugin."""

from __future__ import annotations

import numpy as np
import pytest

from nanostream.render import backend

PARAMETERS = ("base_color", "roughness", "specular", "spec_tint", "sheen")


@pytest.mark.parametrize(
    "values",
    [
        {"base_color": 0.8, "roughness": 0.4, "specular": 0.5},
        {"base_color": 0.8, "roughness": 0.4},
        {"base_color": 0.3, "roughness": 0.9, "specular": 0.5, "sheen": 2.0, "sheen_tint": 0.3},
        {"base_color": 2.5, "roughness": 0.9, "sheen": 2.0, "sheen_tint": 0.9, "spec_tint": 0.5},
        {"base_color": 0.5, "roughness": 0.2, "specular": 0.7, "sheen": 0.1, "spec_tint": 0.8},
    ],
)
def test_equals_the_plugin(values: dict[str, float]) -> None:
    """Over pi and times the cosine it is Mitsuba's `principled`, in every parameter and for all directions."""
    backend.start()
    import drjit as dr
    import mitsuba as mi

    from nanostream.render.principled import Surface, evaluate

    rng = np.random.default_rng(0)
    count = 20_000

    def directions() -> mi.Vector3f:
        z, phi = rng.uniform(0.02, 1, count), rng.uniform(0, 2 * np.pi, count)
        radius = np.sqrt(1 - z**2)
        return mi.Vector3f(radius * np.cos(phi), radius * np.sin(phi), z)

    wi, wo = directions(), directions()
    bsdf = mi.load_dict({"type": "principled", "specular": 0.0, **values, "base_color": {"type": "rgb", "value": 0.5}})
    settings = mi.traverse(bsdf)
    # The plugin refuses base colours over 1 when it is loaded, but not afterwards.
    settings["base_color.value"] = values["base_color"]
    settings.update()
    si = dr.zeros(mi.SurfaceInteraction3f, count)
    si.t, si.wi, si.sh_frame = 1.0, wi, mi.Frame3f(mi.Normal3f(0, 0, 1))
    reference = np.array(bsdf.eval(mi.BSDFContext(), si, wo)).ravel()

    surface = Surface(**{name: mi.Float(values.get(name, 0.0)) for name in PARAMETERS})
    ours = np.array(evaluate(surface, wi, wo) * wo.z / np.pi)
    assert reference.mean() > 0.01
    np.testing.assert_allclose(ours, reference, rtol=1e-3, atol=1e-5)
