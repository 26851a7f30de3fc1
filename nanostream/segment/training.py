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
from nanostream.segment.progress import Clock, Progress
from nanostream.segment.window import Augmentation, CropWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nanostream.segment.state import TrainingState

__all__ = ["Pause", "Training", "TrainingConfig", "schedule", "train"]


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
class Pause:
    """Something to do between two steps every so often; it is no training time."""

    seconds: float
    do: Callable[[Training], None]


class Training:
    """A training on a stream of batches (`image`, `mask`) that does not end; can be saved and gone on with."""

    def __init__(
        self, stream: Iterable[dict[str, Any]], config: TrainingConfig, *, state: TrainingState | None = None
    ) -> None:
        """Nothing is taken from the stream yet.

        state: where to go on, of a training with this config; the stream has to be at its place already.
        """
        self.config = config
        self._begun = time.perf_counter()
        self._before = state.progress if state else None
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.network = unet(config.network).to(self._device)
        self.averaged = copy.deepcopy(self.network).eval()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), weight_decay=config.weight_decay, fused=True)
        self.window = CropWindow(
            iter(stream),
            size=config.window,
            start=config.start,
            crops_per_sample=config.crops_per_sample,
            contour_px=config.contour_px,
            augmentation=config.augmentation,
            rng=generator(config.seed, 0, Purpose.TRAINING),
        )
        if state:
            state.restore(self)

    @property
    def progress(self) -> Progress:
        """Where it stands."""
        return self._clock.progress

    def run(self, *, on_progress: Callable[[Progress], None] | None = None, pauses: Sequence[Pause] = ()) -> Progress:
        """Train to the end; returns where the training stands then.

        `on_progress` is called after every step. Raises StreamError if the stream ends early, ModelError if the loss
        is not finite.
        """
        config = self.config
        with _threads(config.threads):
            self.window.begin()
            self._clock = clock = Clock(begun=self._begun, samples=self.window.samples, before=self._before)
            due = [time.perf_counter() + pause.seconds for pause in pauses]
            while clock.progress.done < 1.0:
                loss = self._step()
                progress = clock.step(
                    loss=loss,
                    samples=self.window.samples,
                    wait_seconds=self.window.wait_seconds,
                    minutes=config.minutes,
                    steps=config.steps,
                )
                if on_progress is not None:
                    on_progress(progress)
                for k, pause in enumerate(pauses):
                    if time.perf_counter() >= due[k] and progress.done < 1.0:
                        with clock.paused():
                            pause.do(self)
                        due[k] = time.perf_counter() + pause.seconds
        return clock.progress

    def model(self) -> Model:
        """The averaged weights as a model of its own, on the CPU."""
        return Model(
            network=copy.deepcopy(self.averaged).cpu().eval(),
            network_config=self.config.network,
            watershed=WatershedConfig(),
            about={"training": dataclasses.asdict(self.config) | {"done": dataclasses.asdict(self.progress)}},
        )

    def _step(self) -> float:
        """Draw crops and take one step of the optimiser; returns the loss."""
        config, progress = self.config, self.progress
        crops = self.window.draw(count=config.batch, crop_px=config.crop_px).to(self._device)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * schedule(progress.done, config.warmup)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=_fast_bfloat16(self._device)):
            outputs = self.network(crops.images.contiguous(memory_format=torch.channels_last))
        loss = segmentation_loss(outputs.float(), crops, config.loss)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        value = loss.item()
        if not math.isfinite(value):
            msg = f"expected a finite loss, got {value} in step {progress.step}: train slower"
            raise ModelError(msg)
        _average(self.averaged, self.network, min(config.average, progress.step / (progress.step + 10)))
        return value


def train(
    stream: Iterable[dict[str, Any]],
    config: TrainingConfig | None = None,
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> tuple[Model, Progress]:
    """Train a fresh network on a stream of batches (`image`, `mask`) that does not end.

    Returns the model with the averaged weights, on the CPU, and where the training stood at its
    end. With `steps` set, the same stream, seed and number of threads give the same weights on one machine.
    Raises what `Training.run` raises.
    """
    training = Training(stream, config or TrainingConfig())
    progress = training.run(on_progress=on_progress)
    return training.model(), progress


def schedule(done: float, warmup: float) -> float:
    """Learning rate at a share `done` of the training, relative to its highest."""
    if done < warmup:
        return (done + 0.01 * warmup) / (1.01 * warmup)
    return 0.5 + 0.5 * math.cos(math.pi * (done - warmup) / (1.0 - warmup))


@torch.no_grad()
def _average(averaged: torch.nn.Module, network: torch.nn.Module, decay: float) -> None:
    """Move the averaged weights and statistics towards the network's by 1 - decay."""
    target, source = averaged.state_dict(), network.state_dict()
    floats = [name for name, value in target.items() if value.is_floating_point()]
    # One call for all of them: a hundred small ones cost as much as a tenth of the step.
    get_ema_multi_avg_fn(decay)([target[name] for name in floats], [source[name] for name in floats], 0)


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
