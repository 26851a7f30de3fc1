"""A classifier two-sample test: whether a network trained on some pictures tells others apart.

Source: Lopez-Paz and Oquab, Revisiting classifier two-sample tests, ICLR 2017, arXiv:1610.06545.

Legend: B = batch, P = edge of a patch in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from nanostream.gan.realism_curves import PATCH_PX, levels, tiles

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import numpy.typing as npt

    Pictures = Sequence[npt.NDArray[np.float32]]

__all__ = ["accuracies"]

_STEPS = 400
_BATCH = 32
_RATE = 2e-3
_DECAY = 1e-2
_CHANNELS = (12, 24, 48, 64)


def accuracies(
    one: Sequence[npt.NDArray[Any]],
    other: Sequence[npt.NDArray[Any]],
    *,
    seed: int,
    splits: int = 4,
    steps: int | None = None,
    device: str = "cpu",
) -> npt.NDArray[np.float64]:
    """(splits,) accuracy of the network on 128x128 patches of pictures that it never saw; 0.5 is chance.

    one, other: at least two pictures each, as `describe` takes them. For each split, half of the pictures of either
    set, at random, is learned from, with flips and quarter turns, and patches of the other half are told apart. Both
    sets count alike, whatever their size. About 15 seconds a split on one core. The same seed gives the same splits,
    weights and patches; on another machine accuracies may differ in the last digits.
    """
    sets = tuple([levels(picture) / np.float32(255) for picture in pictures] for pictures in (one, other))
    shares = []
    for split in range(splits):
        rng = np.random.default_rng((seed, split))
        # Weights and dropout take torch's own random numbers: the caller's are put back.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            shares.append(_accuracy(sets, rng=rng, steps=steps or _STEPS, device=device))
    return np.array(shares)


def _accuracy(sets: tuple[Pictures, ...], *, rng: np.random.Generator, steps: int, device: str) -> float:
    learned, unseen = [], []
    for pictures in sets:
        order = rng.permutation(len(pictures))
        half = len(pictures) // 2
        learned.append([pictures[k] for k in order[:half]])
        unseen.append([pictures[k] for k in order[half:]])
    network = _network().to(device)
    _train(network, learned, rng=rng, steps=steps, device=device)
    network.eval()
    shares = []
    for label, pictures in enumerate(unseen):
        patches = np.stack([tile for picture in pictures for tile in tiles(picture, PATCH_PX)])
        with torch.inference_mode():
            answers = [network(batch.to(device)) for batch in torch.from_numpy(patches[:, None]).split(_BATCH)]
        shares.append(((torch.cat(answers) > 0) == bool(label)).float().mean().item())
    return float(np.mean(shares))


def _train(network: nn.Module, sets: list[Pictures], *, rng: np.random.Generator, steps: int, device: str) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=_RATE, total_steps=steps)
    labels = torch.arange(_BATCH, device=device) % 2
    for _ in range(steps):
        patches = np.stack([_patch(sets[k % 2], rng) for k in range(_BATCH)])[:, None]
        answers = network(torch.from_numpy(patches).to(device))
        loss = nn.functional.binary_cross_entropy_with_logits(answers, labels.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _patch(pictures: Pictures, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """(P, P) at a random place of a random picture, turned and flipped."""
    picture = pictures[int(rng.integers(len(pictures)))]
    top, left = (int(rng.integers(size - PATCH_PX + 1)) for size in picture.shape)
    patch = np.rot90(picture[top : top + PATCH_PX, left : left + PATCH_PX], int(rng.integers(4)))
    return np.ascontiguousarray(patch[:, ::-1] if rng.integers(2) else patch)


class _Pooled(nn.Module):
    """(B, C, h, w) to (B, 2 C): mean and greatest over the patch, so that rare marks count as well as common ones."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.cat((features.mean(dim=(2, 3)), features.amax(dim=(2, 3))), dim=1)


def _network() -> nn.Module:
    """(B, 1, P, P) in [0, 1] to (B,) log-odds of the second set."""
    layers: list[nn.Module] = [nn.BatchNorm2d(1)]
    channels = 1
    for out in _CHANNELS:
        kernel = 5 if channels == 1 else 3
        layers += [
            nn.Conv2d(channels, out, kernel, stride=2, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
        ]
        channels = out
    layers += [_Pooled(), nn.Dropout(0.3), nn.Linear(2 * channels, 1), nn.Flatten(start_dim=0)]
    return nn.Sequential(*layers)
