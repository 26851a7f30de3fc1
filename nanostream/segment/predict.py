"""From a picture to its instances: standardise, slide the network over it, part the particles.

Legend: H, W = height and width in pixels.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from nanostream.errors import PictureError
from nanostream.segment.instances import instances
from nanostream.segment.network import CLASSES, LEAST_DEVIATION

if TYPE_CHECKING:
    import numpy.typing as npt

    from nanostream.segment.model import Model

__all__ = ["PictureStatistics", "predict", "probabilities"]

WINDOW_PX = 256
OVERLAP = 0.25
WINDOWS = 4
"""Windows that the network sees at once."""
_ROWS = 1024


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PictureStatistics:
    """Mean and standard deviation of a whole picture's grey levels, from 0 to 1."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, image: npt.NDArray[Any]) -> Self:
        """Those of a picture (H, W) of uint8, uint16 or float32, a few rows at a time."""
        blocks = [image[top : top + _ROWS] for top in range(0, len(image), _ROWS)]
        mean = sum(float(block.sum(dtype=np.float64)) for block in blocks) / image.size
        square = sum(float(np.square(block - np.float64(mean)).sum()) for block in blocks) / image.size
        most = _most(image)
        return cls(mean=mean / most, deviation=math.sqrt(square) / most)


def predict(
    model: Model, image: npt.NDArray[Any], *, flips: bool = False, statistics: PictureStatistics | None = None
) -> npt.NDArray[np.int32]:
    """Instances of one picture: (H, W) int32, 0 background, 1..n without gaps.

    image, flips, statistics: see `probabilities`. Raises PictureError if the image has another shape or type.
    """
    found = probabilities(model, image, flips=flips, statistics=statistics)
    return instances(found, image, model.watershed)


def probabilities(
    model: Model, image: npt.NDArray[Any], *, flips: bool = False, statistics: PictureStatistics | None = None
) -> npt.NDArray[np.float32]:
    """Probability of background, inside and contour: (3, H, W) float32 that sum to 1.

    image: (H, W) uint8, uint16, or float32 in [0, 1], of any size. Windows of 256 pixels overlap by a quarter and
    are blended with a Gaussian (MONAI's `sliding_window_inference`). flips: average over the four mirrored pictures,
    at four times the cost. statistics: of the picture that the image is a part of.
    Raises PictureError if the image has another shape or type.
    """
    if image.ndim != 2 or image.dtype not in (np.uint8, np.uint16, np.float32) or not image.size:  # noqa: PLR2004
        msg = f"expected a grey picture (H, W) of uint8, uint16 or float32, got {image.shape} of {image.dtype}"
        raise PictureError(msg)
    known = statistics or PictureStatistics.of(image)
    device = next(model.network.parameters()).device
    pixels = torch.from_numpy(image.astype(np.float32)).to(device)[None, None]
    pixels = (pixels / _most(image) - known.mean) / (known.deviation + LEAST_DEVIATION)
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


def _most(image: npt.NDArray[Any]) -> float:
    """Grey level of full scale."""
    return 1.0 if image.dtype.kind == "f" else float(np.iinfo(image.dtype).max)


def _slide(model: Model, pixels: torch.Tensor) -> torch.Tensor:
    from monai.inferers.utils import sliding_window_inference

    logits = sliding_window_inference(
        pixels,
        roi_size=(WINDOW_PX, WINDOW_PX),
        sw_batch_size=WINDOWS,
        predictor=lambda windows: model.network(windows)[:, :CLASSES],
        overlap=OVERLAP,
        mode="gaussian",
        padding_mode="reflect" if min(pixels.shape[2:]) >= WINDOW_PX else "constant",
    )
    if not isinstance(logits, torch.Tensor):
        msg = f"expected one tensor from the network, got {type(logits).__name__}"
        raise PictureError(msg)
    return logits
