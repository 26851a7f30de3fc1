"""The generator's network, its file and the textures made from it."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy

from nanostream.errors import StoreError, TextureError
from nanostream.scene.published import PublishedOptics, PublishedPlacement, place
from nanostream.scene.published_radii import LognormalRadii
from nanostream.texture.checkpoint import Checkpoint, Layer, Spec, file_digest, load_checkpoint, save_checkpoint
from nanostream.texture.generator import Generator, GeneratorTexture
from nanostream.texture.parameters import PARAMETERS, Bounds, Material

if TYPE_CHECKING:
    import pathlib


def spec_of(particles: int = 6, hidden: int = 16) -> Spec:
    """A small generator's description."""
    return Spec(
        name="small",
        particles=particles,
        hidden=hidden,
        learned_stage=("base_color",),
        learned_particle=("base_color", "sheen", "roughness"),
        stage_bounds=Bounds(low=0.01, high=0.3),
        particle_bounds=Bounds(low=0.01, high=5.0),
        noise_bounds=Bounds(low=0.001, high=0.2),
        stage=Material(roughness=0.5, specular=0.125),
        particle=Material(specular=0.5),
        placement=PublishedPlacement(
            radii=LognormalRadii(mu=0, sigma=0.2),
            mesh_unit=0.25,
            mesh_scale=1,
            base_limit=2.5,
            in_depth=True,
            agglomerates=2,
            method="poisson",
        ),
        optics=PublishedOptics(),
        mesh_set="spheres",
    )


def layers_of(spec: Spec, seed: int = 0) -> tuple[Layer, ...]:
    """Random weights of the right shapes."""
    rng = np.random.default_rng(seed)
    return tuple(
        Layer(*(rng.normal(size=shape).astype(np.float32) for shape in ((rows, columns), (rows, 1), (rows,))))
        for rows, columns in spec.shapes
    )


@pytest.fixture
def checkpoint() -> Checkpoint:
    """A small generator with random weights."""
    spec = spec_of()
    return Checkpoint(spec, layers_of(spec))


def forward(checkpoint: Checkpoint, positions: np.ndarray) -> np.ndarray:
    """The network written out once more, unit by unit, as the paper's code has it."""
    spec = checkpoint.spec
    signal = [float(np.float32(value)) for value in positions.ravel()]
    for number, layer in enumerate(checkpoint.layers):
        out = []
        for direction, magnitude, bias in zip(layer.direction, layer.magnitude[:, 0], layer.bias, strict=True):
            row = [float(value) for value in direction]
            length = sum(value * value for value in row) ** 0.5
            dot = sum(weight * value for weight, value in zip(row, signal, strict=True))
            y = float(magnitude) * dot / length + float(bias)
            out.append(1 / (1 + np.exp(-y)) if number == len(checkpoint.layers) - 1 else max(0.0, y))
        signal = out
    bounds = [spec.stage_bounds] * len(spec.learned_stage) + [spec.particle_bounds] * len(spec.learned_particle)
    return np.array(
        [
            bound.low + (bound.high - bound.low) * p
            for bound, p in zip([*bounds, spec.noise_bounds], signal, strict=True)
        ]
    )


def test_outputs_are_those_of_the_formula(checkpoint: Checkpoint) -> None:
    """Numpy gives what the network's formula gives to 1e-9, torch to float32's rounding of values up to 5."""
    torch = pytest.importorskip("torch")
    from nanostream.texture.network import ParameterNetwork

    positions = np.random.default_rng(1).normal(size=(5, 6, 4))
    wanted = np.stack([forward(checkpoint, each) for each in positions])
    got = Generator(checkpoint).values(positions)
    assert np.abs(got - wanted).max() < 1e-9
    network = ParameterNetwork.from_checkpoint(checkpoint)
    with torch.no_grad():
        by_torch = network(torch.tensor(positions, dtype=torch.float32)).numpy()
    assert np.abs(by_torch - wanted).max() < 5e-6


def test_torch_network_returns_its_weights(checkpoint: Checkpoint) -> None:
    """A network made from a checkpoint gives the same checkpoint back."""
    from nanostream.texture.network import ParameterNetwork

    again = ParameterNetwork.from_checkpoint(checkpoint).checkpoint()
    for one, other in zip(checkpoint.layers, again.layers, strict=True):
        for part in ("direction", "magnitude", "bias"):
            np.testing.assert_array_equal(getattr(one, part), getattr(other, part))


def test_outputs_stay_in_their_bounds(checkpoint: Checkpoint) -> None:
    """No input, however far out, leaves the bounds."""
    values = Generator(checkpoint).values(np.random.default_rng(2).normal(size=(200, 6, 4)) * 1e4)
    assert np.isfinite(values).all()
    low, high = np.array([(0.01, 0.3), *[(0.01, 5.0)] * 3, (0.001, 0.2)]).T
    assert (values >= low - 1e-12).all()
    assert (values <= high + 1e-12).all()


def test_constants_change_places_only_when_asked(checkpoint: Checkpoint) -> None:
    """Learned values stay with their surface; the published swap exchanges the constants alone."""
    generator = Generator(checkpoint)
    positions = np.random.default_rng(3).normal(size=(6, 4))
    plain, swapped = generator.shading(positions), generator.shading(positions, swapped=True)
    assert plain.particle.specular == swapped.stage.specular == 0.5
    assert plain.stage.specular == swapped.particle.specular == 0.125
    assert (plain.stage.roughness, swapped.stage.roughness) == (0.5, 0.0)
    for name in ("base_color", "sheen", "roughness"):
        assert getattr(plain.particle, name) == getattr(swapped.particle, name)
    assert plain.stage.base_color == swapped.stage.base_color
    assert plain.noise_std == swapped.noise_std


def test_a_draw_is_the_placement_it_draws(checkpoint: Checkpoint) -> None:
    """A draw places particles as in training and repeats with its generator."""
    generator = Generator(checkpoint)
    positions = place(checkpoint.spec.placement, 6, np.random.default_rng(4))
    assert generator.draw(np.random.default_rng(4)) == generator.shading(positions)


def test_wrong_number_of_positions(checkpoint: Checkpoint) -> None:
    """Positions of another mesh set are refused."""
    with pytest.raises(TextureError, match=r"shape \(m, 6, 4\)"):
        Generator(checkpoint).values(np.zeros((1, 7, 4)))


def test_file_round_trip(checkpoint: Checkpoint, tmp_path: pathlib.Path) -> None:
    """What is written is read back exactly, and the same generator gives the same bytes."""
    path, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    digest = save_checkpoint(checkpoint, path)
    assert digest == file_digest(path) == save_checkpoint(checkpoint, other)
    again = load_checkpoint(path)
    assert again.spec == checkpoint.spec
    for one, two in zip(again.layers, checkpoint.layers, strict=True):
        for part in ("direction", "magnitude", "bias"):
            np.testing.assert_array_equal(getattr(one, part), getattr(two, part))
    positions = np.random.default_rng(5).normal(size=(3, 6, 4))
    np.testing.assert_array_equal(
        GeneratorTexture(file=path).load().values(positions), Generator(checkpoint).values(positions)
    )


def test_existing_file_is_kept(checkpoint: Checkpoint, tmp_path: pathlib.Path) -> None:
    """A file is replaced only on request, and nothing else is left in the folder."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"mine")
    with pytest.raises(StoreError, match="--overwrite"):
        save_checkpoint(checkpoint, path)
    assert path.read_bytes() == b"mine"
    save_checkpoint(checkpoint, path, overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]
    with pytest.raises(StoreError, match="another place"):
        save_checkpoint(checkpoint, path / "b.safetensors")


def rewritten(path: pathlib.Path, change: dict[str, Any], **tensors: np.ndarray) -> None:
    """Write the file anew with header fields or tensors changed."""
    with safetensors.safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()["nanostream"]) | change
        old = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    renamed = {name.replace("_", "."): tensor for name, tensor in tensors.items()}
    safetensors.numpy.save_file(old | renamed, path, metadata={"nanostream": json.dumps(header)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version 1"),
        ({"hidden": 17}, "another network"),
        ({"hidden": "many"}, "wrong hidden"),
        ({"learned_particle": ["sheen", "base_color", "roughness"]}, "in this order"),
        ({"colour": 1}, "wrong colour"),
        ({"stage_bounds": {"low": 1, "high": 1}}, "low < high"),
    ],
)
def test_wrong_headers(checkpoint: Checkpoint, tmp_path: pathlib.Path, change: dict[str, Any], words: str) -> None:
    """A file with another version, shape or field is refused in one sentence."""
    path = tmp_path / "a.safetensors"
    save_checkpoint(checkpoint, path)
    rewritten(path, change)
    with pytest.raises(TextureError, match=words) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_wrong_tensors(checkpoint: Checkpoint, tmp_path: pathlib.Path) -> None:
    """A file with extra, infinite or zero weights, or that is no safetensors at all, is refused."""
    path = tmp_path / "a.safetensors"
    for tensors, words in (
        ({"layer6_bias": np.zeros(1, np.float32)}, "layer6.bias"),
        ({"layer1_bias": np.full(16, np.nan, np.float32)}, "finite"),
        ({"layer1_direction": np.zeros((16, 24), np.float32)}, "length"),
        ({"layer1_bias": np.zeros(16, np.float64)}, "float32"),
    ):
        save_checkpoint(checkpoint, path, overwrite=True)
        rewritten(path, {}, **tensors)
        with pytest.raises(TextureError, match=words):
            load_checkpoint(path)
    path.write_bytes(b"no such thing")
    with pytest.raises(TextureError, match="cannot be read"):
        load_checkpoint(path)
    with pytest.raises(TextureError, match="cannot be read"):
        load_checkpoint(tmp_path / "missing")
    safetensors.numpy.save_file({"a": np.zeros(1)}, path)
    with pytest.raises(TextureError, match="header"):
        load_checkpoint(path)


def test_layers_must_fit(checkpoint: Checkpoint) -> None:
    """A checkpoint cannot be made from layers of another network."""
    with pytest.raises(TextureError, match="5 layers"):
        dataclasses.replace(checkpoint, layers=checkpoint.layers[:4])


def test_parameters_are_those_of_a_material() -> None:
    """The names of the learnable parameters are the material's fields, in the same order."""
    assert list(PARAMETERS) == list(Material.model_fields)
