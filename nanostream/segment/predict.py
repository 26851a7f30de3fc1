"""From a picture to its instances: standardise, slide the network over it, part the particles.

Legend: H, W = height and width in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nanostream.errors import PictureError
from nanostream.segment.instances import instances
from nanostream.segment.network import standardise

if TYPE_CHECKING:
    import numpy.typing as npt

    from nanostream.segment.model import Model

__all__ = ["predict", "probabilities"]

WINDOW_PX = 256
OVERLAP = 0.25


def predict(model: Model, image: npt.NDArray[Any], *, flips: bool = False) -> npt.NDArray[np.int32]:
    """Instances of one picture: (H, W) int32, 0 background, 1..n without gaps.

    image: (H, W) uint8 or uint16, of any size and grey scale. flips: see `probabilities`.
    Raises PictureError if the image has another shape or type.
    """
    return instances(probabilities(model, image, flips=flips), model.watershed)


def probabilities(model: Model, image: npt.NDArray[Any], *, flips: bool = False) -> npt.NDArray[np.float32]:
    """Probability of background, inside and contour: (3, H, W) float32 that sum to 1.

    Windows of 256 pixels overlap by a quarter and are blended with a Gaussian (MONAI's
    `sliding_window_inference`). flips: average over the four mirrored pictures, at four times the
    cost. Raises PictureError if the image has another shape or type.
    """
    if image.ndim != 2 or image.dtype not in (np.uint8, np.uint16) or not image.size:  # noqa: PLR2004
        msg = f"expected a grey picture (H, W) of 8 or 16 bits, got {image.shape} of {image.dtype}"
        raise PictureError(msg)
    device = next(model.network.parameters()).device
    pixels = torch.from_numpy(image.astype(np.float32)).to(device)[None, None]
    pixels = standardise(pixels / float(np.iinfo(image.dtype).max))
    training = model.network.training
    model.network.eval()
    try:
        with torch.inference_mode():
            total = torch.zeros(())
            mirrors: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3)) if flips else ((),)
            for axes in mirrors:
                logits = _slide(model, pixels.flip(axes)).flip(axes)
                total = total + logits.softmax(dim=1)
    finally:
        model.network.train(training)
    return (total / len(mirrors)).squeeze(0).float().cpu().numpy()


def _slide(model: Model, pixels: torch.Tensor) -> torch.Tensor:
    from monai.inferers.utils import sliding_window_inference

    logits = sliding_window_inference(
        pixels,
        roi_size=(WINDOW_PX, WINDOW_PX),
        sw_batch_size=4,
        predictor=model.network,
        overlap=OVERLAP,
        mode="gaussian",
        padding_mode="reflect" if min(pixels.shape[2:]) >= WINDOW_PX else "constant",
    )
    if not isinstance(logits, torch.Tensor):
        msg = f"expected one tensor from the network, got {type(logits).__name__}"
        raise PictureError(msg)
    return logits
