"""Published weights and settings: what is read from them, and what is refused."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import torch

from nanostream.cli.import_published import ImportPublished
from nanostream.errors import RecipeError, StoreError, TextureError
from nanostream.scene.published import place
from nanostream.texture.checkpoint import load_checkpoint
from nanostream.texture.generator import Generator
from nanostream.texture.parameters import PARAMETERS
from nanostream.texture.published import read_published

LAYERS = ("fc1", "fc2", "fc3", "fc4", "output_layer.0")
NAMES = ("Ag_paper", "Mill2021SiO2_paper", "Mill2021TiO2_paper", "Ruehle2021TiO2_paper")


def settings_of() -> dict[str, Any]:
    """Settings in the published form, of a network with two particles."""
    learned = {"p_base_color", "p_sheen", "s_base_color"}
    constants = {f"{side}_{name}": 0.0 for side in "ps" for name in PARAMETERS}
    return {
        "mesh_dict": {
            "mesh_path": "some/folder/Spheres",
            "mesh_unit": 0.5,
            "mesh_base_sample_limit": 2.0,
            "mesh_scale": 1.0,
            "mesh_position3d": False,
            "mesh_max_agglomerates": 1,
            "mesh_size_dist": "gaussian",
            "gaussian_params": {"mean": 1.0, "stddev": 0.1},
            "particle_placement": "poisson",
        },
        "scene_param_dict": constants
        | dict.fromkeys(learned, -1.0)
        | {"p_specular": 0.5, "n_hidden": 8, "emission1": 1.0, "emission2": 0.1, "spp": 4, "gaussdev": 0.5}
        | {
            f"{name}_limit_{end}": value
            for name in ("noise", "stage_bsdf", "particle_bsdf")
            for end, value in (("min", 0.01), ("max", 0.5))
        },
    }


def weights_of(hidden: int = 8, outputs: int = 4) -> dict[str, torch.Tensor]:
    """Weights in the published form."""
    state = {}
    widths = [8, hidden, hidden, hidden, hidden, outputs]
    make = torch.Generator().manual_seed(0)
    for name, columns, rows in zip(LAYERS, widths, widths[1:], strict=False):
        for part, shape in (("bias", (rows,)), ("weight_g", (rows, 1)), ("weight_v", (rows, columns))):
            state[f"params_model.{name}.{part}"] = torch.randn(shape, generator=make)
    return state


@pytest.fixture
def files(tmp_path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """A pair of good files."""
    weights, settings = tmp_path / "small.pth", tmp_path / "small.json"
    torch.save(weights_of(), weights)
    settings.write_text(json.dumps(settings_of()))
    return weights, settings


def test_good_files(files: tuple[pathlib.Path, pathlib.Path]) -> None:
    """Negative constants are the learned parameters; the rest is taken over by name."""
    spec = read_published(*files).spec
    assert spec.outputs == ("stage.base_color", "particle.base_color", "particle.sheen", "noise_std")
    assert (spec.particle.specular, spec.stage.specular, spec.particle.base_color) == (0.5, 0.0, 0.0)
    assert (spec.mesh_set, spec.particles, spec.hidden, spec.optics.samples_per_pixel) == ("Spheres", 2, 8, 4)
    assert spec.placement.radii.kind == "gaussian"


class Trap:
    """Pickles into a call that leaves a file."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (pathlib.Path.touch, (self.path,))


def test_pickled_code_does_not_run(files: tuple[pathlib.Path, pathlib.Path], tmp_path: pathlib.Path) -> None:
    """A file with pickled code is refused and its code is not run."""
    mark = tmp_path / "ran"
    torch.save(weights_of() | {"params_model.fc1.bias": Trap(mark)}, files[0])
    with pytest.raises(TextureError, match="pickled objects or code") as caught:
        read_published(*files)
    assert not mark.exists()
    assert "\n" not in str(caught.value)


def _other_width(state: dict[str, Any]) -> None:
    state.update(weights_of(hidden=9))


def _other_outputs(state: dict[str, Any]) -> None:
    state.update(weights_of(outputs=5))


def _odd_inputs(state: dict[str, Any]) -> None:
    state["params_model.fc1.weight_v"] = torch.ones(8, 9)


def _missing(state: dict[str, Any]) -> None:
    del state["params_model.fc3.weight_g"]


def _extra(state: dict[str, Any]) -> None:
    state["params_model.fc9.bias"] = torch.ones(1)


def _infinite(state: dict[str, Any]) -> None:
    state["params_model.fc2.bias"][0] = torch.inf


def _halved(state: dict[str, Any]) -> None:
    state["params_model.fc2.bias"] = state["params_model.fc2.bias"].half()


def _flat(state: dict[str, Any]) -> None:
    state["params_model.fc2.weight_v"] = torch.ones(64)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_other_width, "belong to another network"),
        (_other_outputs, "belong to another network"),
        (_odd_inputs, "9 inputs"),
        (_missing, "fc3.weight_g"),
        (_extra, "fc9.bias"),
        (_infinite, "finite"),
        (_halved, "float32"),
        (_flat, "rows and columns"),
    ],
)
def test_wrong_weights(files: tuple[pathlib.Path, pathlib.Path], spoil: Any, words: str) -> None:
    """Other shapes, missing or extra weights and values that are not finite are refused in one sentence."""
    state: dict[str, Any] = weights_of()
    spoil(state)
    torch.save(state, files[0])
    with pytest.raises(TextureError, match=words) as caught:
        read_published(*files)
    assert "\n" not in str(caught.value)


def test_no_weights_at_all(files: tuple[pathlib.Path, pathlib.Path]) -> None:
    """A list, rubbish, half a file and a missing one are refused."""
    whole = files[0].read_bytes()
    torch.save([1, 2], files[0])
    with pytest.raises(TextureError, match="everything"):
        read_published(*files)
    for content in (b"rubbish", b"", whole[: len(whole) // 2]):
        files[0].write_bytes(content)
        with pytest.raises(TextureError, match=r"cannot be read|damaged"):
            read_published(*files)
    files[0].unlink()
    with pytest.raises(TextureError, match="cannot be read"):
        read_published(*files)


@pytest.mark.parametrize(
    ("part", "field", "value", "words"),
    [
        ("scene_param_dict", "noise_limit_min", 0.5, "low < high"),
        ("scene_param_dict", "noise_limit_max", "loud", "high"),
        ("scene_param_dict", "stage_bsdf_limit_min", None, "stage_bsdf_limit_min"),
        ("scene_param_dict", "p_flatness", None, "p_flatness"),
        ("scene_param_dict", "p_flatness", "flat", "p_flatness"),
        ("scene_param_dict", "p_flatness", float("nan"), "flatness"),
        ("scene_param_dict", "q_flatness", 1, "unknown field scene_param_dict.q_flatness"),
        ("scene_param_dict", "spp", 0, "samples_per_pixel"),
        ("scene_param_dict", "gaussdev", -1, "filter_px"),
        ("scene_param_dict", "n_hidden", 0, "hidden"),
        ("mesh_dict", "mesh_unit", 0, "mesh_unit"),
        ("mesh_dict", "mesh_size_dist", "cauchy", "one of lognormal, bimodal, gaussian"),
        ("mesh_dict", "mesh_size_dist", "bimodal", "bimodal_params"),
        ("mesh_dict", "gaussian_params", {"mean": 1.0}, "stddev"),
        ("mesh_dict", "gaussian_params", 3, "gaussian_params"),
        ("mesh_dict", "particle_placement", "grid", "method"),
        ("mesh_dict", "mesh_max_agglomerates", 0, "agglomerates"),
    ],
)
def test_wrong_settings(
    files: tuple[pathlib.Path, pathlib.Path], part: str, field: str, value: Any, words: str
) -> None:
    """A missing, unknown or impossible field of the settings is named."""
    settings = settings_of()
    if value is None:
        del settings[part][field]
    else:
        settings[part][field] = value
    files[1].write_text(json.dumps(settings))
    with pytest.raises(TextureError, match=words) as caught:
        read_published(*files)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"mesh_dict": 3}', "no json"])
def test_no_settings_at_all(files: tuple[pathlib.Path, pathlib.Path], text: str) -> None:
    """Settings that are no JSON or lack a part are refused."""
    files[1].write_text(text)
    with pytest.raises(TextureError):
        read_published(*files)


def test_command(
    files: tuple[pathlib.Path, pathlib.Path], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command writes the texture, says so last, and replaces a file only on request."""
    out = tmp_path / "texture"
    command = ImportPublished(weights=files[0], settings=files[1], out=out)
    command.run()
    assert str(out) in capsys.readouterr().out.splitlines()[-1]
    assert load_checkpoint(out).spec.name == "small"
    with pytest.raises(StoreError, match="--overwrite"):
        command.run()
    ImportPublished(weights=files[0], settings=files[1], out=out, overwrite=True).run()


def test_command_with_recipe(files: tuple[pathlib.Path, pathlib.Path], tmp_path: pathlib.Path) -> None:
    """With the meshes named, the command writes a recipe of the published scene too."""
    from nanostream.recipe import Recipe

    meshes, recipe = tmp_path / "meshes", tmp_path / "r.json"
    meshes.mkdir()
    options = {"weights": files[0], "settings": files[1], "out": tmp_path / "texture", "recipe": recipe}
    with pytest.raises(RecipeError, match="--meshes"):
        ImportPublished(**options).run()
    (tmp_path / "meshes.json").write_text(json.dumps({"Spheres": ["a.ply"]}))
    with pytest.raises(RecipeError, match="2 files"):
        ImportPublished(**options, meshes=meshes).run()
    (tmp_path / "meshes.json").write_text(json.dumps({"Spheres": ["a.ply", "a.ply"]}))
    ImportPublished(**options, meshes=meshes).run()
    loaded = Recipe.load(recipe)
    assert loaded.scene.kind == "published"
    assert loaded.scene.meshes == ("a.ply", "a.ply")


@pytest.mark.parametrize("name", NAMES)
def test_the_published_generators(shared_data: pathlib.Path, name: str) -> None:
    """Each published generator reads, gives seven values in its limits, and varies with the placement."""
    folder = shared_data / "diffrendergan" / "checkpoints"
    checkpoint = read_published(folder / f"{name}.pth", folder / f"{name}.json")
    spec = checkpoint.spec
    assert spec.outputs == (
        "stage.base_color",
        *(f"particle.{of}" for of in ("base_color", "sheen", "spec_tint", "sheen_tint", "roughness")),
        "noise_std",
    )
    rng = np.random.default_rng(0)
    positions = np.stack([place(spec.placement, spec.particles, rng) for _ in range(20)])
    values = Generator(checkpoint).values(positions)
    bounds = [spec.stage_bounds, *[spec.particle_bounds] * 5, spec.noise_bounds]
    assert (values >= [bound.low for bound in bounds]).all()
    assert (values <= [bound.high for bound in bounds]).all()
    assert (np.ptp(values, axis=0) > 0).all()
