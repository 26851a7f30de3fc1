"""A trained model: network, how its output becomes instances, and where it came from; and its file.

The file is safetensors; its header holds one JSON text under `nanostream`, so loading runs no code.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanostream.errors import ModelError
from nanostream.files import whole_file
from nanostream.segment.instances import WatershedConfig
from nanostream.segment.network import CHANNELS, NetworkConfig, config_from_json, unet

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["MODEL_VERSION", "Model", "load_model", "save_model"]

MODEL_KIND = "nanostream segmentation model"
MODEL_VERSION = 3
HEADER_KEY = "nanostream"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Model:
    """A network with its weights, and all that is needed to use it."""

    network: nn.Module
    network_config: NetworkConfig
    watershed: WatershedConfig
    about: dict[str, Any]
    """Plain JSON values: recipe, training and scores, as far as the maker stated them."""

    @classmethod
    def fresh(cls, config: NetworkConfig | None = None) -> Model:
        """Model with the random weights that torch's generator gives now."""
        config = config or NetworkConfig()
        return cls(network=unet(config), network_config=config, watershed=WatershedConfig(), about={})


def save_model(model: Model, path: str | Path) -> Path:
    """Write a model as safetensors; the suffix is added if there is none. Returns the path written.

    The file appears under its name only when it is whole. Raises StoreError if it cannot be written.
    """
    from safetensors.torch import save_file

    path = Path(path)
    if not path.suffix:
        path = path.with_suffix(".safetensors")
    header = {
        "kind": MODEL_KIND,
        "version": MODEL_VERSION,
        "channels": CHANNELS,
        "network": dataclasses.asdict(model.network_config),
        "watershed": dataclasses.asdict(model.watershed),
        "about": model.about,
    }
    with whole_file(path) as partial:
        save_file(
            {name: value.contiguous() for name, value in model.network.state_dict().items()},
            partial,
            metadata={HEADER_KEY: json.dumps(header, sort_keys=True)},
        )
    return path


def load_model(path: str | Path) -> Model:
    """Model from a file that `save_model` wrote, ready to predict.

    Raises ModelError if the file is missing, of another kind, version or number of channels, or has other shapes.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(HEADER_KEY, "{}")
            weights: dict[str, torch.Tensor] = {
                name: file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118 - the file is no mapping
            }
        header = json.loads(text)
    except (OSError, SafetensorError, ValueError) as error:
        msg = f"expected a model file in {str(path)!r}, could not read it: {error}"
        raise ModelError(msg) from error
    if header.get("kind") != MODEL_KIND:
        msg = (
            f"expected a {MODEL_KIND} in {str(path)!r}, got a safetensors file of another kind: "
            "name a file that `nanostream train` wrote"
        )
        raise ModelError(msg)
    if header.get("version") != MODEL_VERSION:
        msg = (
            f"expected a model of version {MODEL_VERSION} in {str(path)!r}, got version "
            f"{header.get('version')!r}: train it again, or use the nanostream that wrote it"
        )
        raise ModelError(msg)
    if header.get("channels") != CHANNELS:
        msg = (
            f"expected a model for pictures of {CHANNELS} channel in {str(path)!r}, got one for "
            f"{header.get('channels')!r}: train one on a recipe of this nanostream"
        )
        raise ModelError(msg)
    network_config = config_from_json(header.get("network", {}))
    network = unet(network_config)
    try:
        watershed = WatershedConfig(**header["watershed"])
        network.load_state_dict(weights)
    except (KeyError, TypeError, RuntimeError) as error:
        msg = f"expected weights of {network_config} in {str(path)!r}, got others: {error}"
        raise ModelError(msg) from error
    network.eval()
    return Model(
        network=network,
        network_config=network_config,
        watershed=watershed,
        about=header.get("about", {}),
    )
