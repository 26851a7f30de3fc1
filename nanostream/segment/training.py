"""Training on a stream that never ends: for so many minutes, or so many steps.

Legend: B = crops in a batch, K = edge of a crop in pixels.

AdamW; the learning rate rises linearly and falls as a cosine over the whole training (Loshchilov
and Hutter 2017), measured in time or in steps, whichever ends it; what is kept is the exponential
moving average of the weights (Polyak and Juditsky 1992).
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import time
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from nanostream.errors import ModelError
from nanostream.seeding import Purpose, generator
from nanostream.segment.instances import WatershedConfig
from nanostream.segment.loss import LossConfig, segmentation_loss
from nanostream.segment.model import Model
from nanostream.segment.network import NetworkConfig, unet
from nanostream.segment.window import Augmentation, CropWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Progress", "TrainingConfig", "schedule", "train"]

LOSS_STEPS = 100
"""Steps that the loss shown is averaged over."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """How a network is trained."""

    minutes: float = 15.0
    """The training ends so long after its first samples have come."""
    steps: int | None = None
    """With a number, it ends after so many steps instead, and the weights do not depend on time."""
    seed: int = 0
    batch: int = 16
    """Crops a step."""
    crop_px: int = 128
    crops_per_sample: float = 10.0
    """Crops drawn for each sample that is taken from the stream; see `window`."""
    window: int = 512
    """Recent samples that crops are drawn from."""
    start: int = 16
    """Samples to wait for before the first step."""
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    warmup: float = 0.05
    """Share of the training in which the learning rate rises."""
    average: float = 0.995
    """Decay a step of the moving average of the weights."""
    contour_px: int = 1
    """Depth of the contour class into each particle."""
    threads: int | None = None
    """Threads of torch; None leaves them as they are."""
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        """Check what would fail late."""
        least = min(self.batch, self.crop_px, self.window, self.start, self.crops_per_sample)
        if not self.minutes > 0 or least <= 0 or (self.steps is not None and self.steps < 1):
            msg = f"expected minutes, steps, batch, crop, window and start over 0, got {self}"
            raise ModelError(msg)
        if self.crop_px % self.network.factor:
            msg = f"expected crops of a multiple of {self.network.factor} pixels for this network, got {self.crop_px}"
            raise ModelError(msg)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a training stands."""

    start_seconds: float
    """Time until the first samples had come: a cluster and its render workers start."""
    seconds: float
    """Time since then."""
    done: float
    """Share of the training that is over, 0 to 1."""
    step: int
    samples: int
    """Samples taken from the stream, the first ones included."""
    samples_per_second: float
    """Samples taken from the stream a second, since the first ones had come."""
    loss: float
    """Mean over the last hundred steps or so."""
    wait_seconds: float
    """Time since the first samples that was spent waiting for more."""

    @property
    def wait_share(self) -> float:
        """Share of the time since the first samples that was spent waiting for more."""
        return self.wait_seconds / self.seconds if self.seconds else 0.0


def train(
    stream: Iterable[dict[str, Any]],
    config: TrainingConfig | None = None,
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> tuple[Model, Progress]:
    """Train a fresh network on a stream of batches (`image`, `mask`) that does not end.

    Returns the model with the averaged weights, on the CPU, and where the training stood at its
    end. `on_progress` is called after every step. With `steps` set, the same stream, seed and
    number of threads give the same weights on one machine.
    Raises StreamError if the stream ends early, ModelError if the loss is not finite.
    """
    config = config or TrainingConfig()
    begun = time.perf_counter()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with _threads(config.threads), torch.random.fork_rng():
        torch.manual_seed(config.seed)
        network = unet(config.network).to(device)
        averaged = copy.deepcopy(network).eval()
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=config.weight_decay, fused=True)
        window = CropWindow(
            iter(stream),
            size=config.window,
            start=config.start,
            crops_per_sample=config.crops_per_sample,
            contour_px=config.contour_px,
            augmentation=config.augmentation,
            rng=generator(config.seed, 0, Purpose.TRAINING),
        )
        window.begin()
        clock = _Clock(begun=begun, started=time.perf_counter(), samples=window.samples)
        progress = clock.read(None, window, config, loss=math.nan)
        while progress.done < 1.0:
            x, y = window.draw(count=config.batch, crop_px=config.crop_px)
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * schedule(progress.done, config.warmup)
            loss = _step(network, optimizer, x.to(device), y.to(device), config)
            if not math.isfinite(loss):
                msg = f"expected a finite loss, got {loss} in step {progress.step}: train slower"
                raise ModelError(msg)
            _average(averaged, network, min(config.average, progress.step / (progress.step + 10)))
            progress = clock.read(progress, window, config, loss=loss)
            if on_progress is not None:
                on_progress(progress)
    model = Model(
        network=averaged.cpu().eval(),
        network_config=config.network,
        watershed=WatershedConfig(),
        about={"training": dataclasses.asdict(config) | {"done": dataclasses.asdict(progress)}},
    )
    return model, progress


def schedule(done: float, warmup: float) -> float:
    """Learning rate at a share `done` of the training, relative to its highest."""
    if done < warmup:
        return (done + 0.01 * warmup) / (1.01 * warmup)
    return 0.5 + 0.5 * math.cos(math.pi * (done - warmup) / (1.0 - warmup))


def _step(
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    x: torch.Tensor,
    codes: torch.Tensor,
    config: TrainingConfig,
) -> float:
    """One step of the optimiser; returns the loss."""
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=_fast_bfloat16(x.device)):
        logits = network(x)
    loss = segmentation_loss(logits.float(), codes, config.loss)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return loss.item()


@torch.no_grad()
def _average(averaged: torch.nn.Module, network: torch.nn.Module, decay: float) -> None:
    """Move the averaged weights and statistics towards the network's by 1 - decay."""
    target, source = averaged.state_dict(), network.state_dict()
    floats = [name for name, value in target.items() if value.is_floating_point()]
    # One call for all of them: a hundred small ones cost as much as a tenth of the step.
    get_ema_multi_avg_fn(decay)([target[name] for name in floats], [source[name] for name in floats], 0)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Clock:
    """When a training began, and when and with how many samples its first step could start."""

    begun: float
    started: float
    samples: int

    def read(self, before: Progress | None, window: CropWindow, config: TrainingConfig, *, loss: float) -> Progress:
        """Where the training stands one step after `before`, or where it starts."""
        seconds = time.perf_counter() - self.started if before else 0.0
        step = before.step + 1 if before else 0
        done = step / config.steps if config.steps else seconds / (60.0 * config.minutes)
        mean = before.loss + (loss - before.loss) / min(step, LOSS_STEPS) if before and before.step else loss
        return Progress(
            start_seconds=self.started - self.begun,
            seconds=seconds,
            done=min(done, 1.0),
            step=step,
            samples=window.samples,
            samples_per_second=(window.samples - self.samples) / seconds if seconds else 0.0,
            loss=mean,
            wait_seconds=window.wait_seconds,
        )


def _fast_bfloat16(device: torch.device) -> bool:
    """Whether 16-bit products are in the hardware; emulated ones are slower than 32-bit ones."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
