"""The stream in other people's loaders and trainers, with the real libraries: pip install .[interop]."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import re
import shutil
import tempfile
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils.data import DataLoader

import nanostream.dataset
from nanostream.dataset import StreamingDataset
from nanostream.testing import FakeRecipe, assert_each_once, assert_in_order

if TYPE_CHECKING:
    import pathlib

pytestmark = [
    pytest.mark.slow,
    # What other libraries warn of is theirs to mend.
    pytest.mark.filterwarnings("ignore"),
]
FAKE = "nanostream.testing:FakeSynth"
RECIPE = FakeRecipe(height=16, width=16)


def stream(**settings: Any) -> StreamingDataset:
    return StreamingDataset(RECIPE, **{"synth": FAKE, "batch_size": 4, "engine": "local", **settings})


def indices(batches: Any) -> list[int]:
    return [index for batch in batches for index in torch.as_tensor(batch["index"]).reshape(-1).tolist()]


def examples() -> dict[str, str]:
    """The blocks of code in the package's docstring, by the first word of what stands before them."""
    blocks = re.findall(r"^(\w+)[^\n]*:\n\n((?:    [^\n]*\n|\n)+)", nanostream.dataset.__doc__ or "", re.MULTILINE)
    return {name: textwrap.dedent(code) for name, code in blocks}


@pytest.mark.parametrize("name", ["torch", "torchdata", "Lightning", "Accelerate", "MONAI"])
def test_example_runs(name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of each library, under 40 lines, runs as it stands, and sees each index once, in order."""
    code = examples()[name]
    assert 3 < len(code.splitlines()) < 40
    monkeypatch.chdir(tmp_path)
    seen: list[dict[str, Any]] = []
    net = torch.nn.Conv2d(1, 2, 1)
    with stream(transform=functools.partial(dict)) as dataset:
        known = {
            "DataLoader": DataLoader,
            "itertools": itertools,
            "torch": torch,
            "stream": dataset,
            "net": net,
            "loss": lambda logits, mask: torch.nn.functional.cross_entropy(logits, mask.clamp(max=1).long()),
            "train": seen.append,
        }
        exec(compile(code, name, "exec"), known)  # noqa: S102 - it is the package's own example
        after = dataset.state_dict()["next_index"]
    assert after >= 400
    if seen:
        assert assert_in_order(seen) == 400
        assert known.get("state", {"next_index": 400}).get("next_index", 400) == 400


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("consumed", [1, 2, 5])
def test_torchdata_stateful_data_loader(num_workers: int, consumed: int) -> None:
    """StatefulDataLoader's own state_dict() is exact, with and without workers that prefetch."""
    stateful = pytest.importorskip("torchdata.stateful_dataloader")

    def loader() -> Any:
        return stateful.StatefulDataLoader(stream(), batch_size=None, num_workers=num_workers)

    one = loader()
    source = iter(one)
    first = list(itertools.islice(source, consumed))
    state = one.state_dict()
    del source
    two = loader()
    two.load_state_dict(state)
    rest = list(itertools.islice(two, 6))
    assert_in_order(first + rest)


def test_torchdata_finite_stream_and_own_place() -> None:
    """A finite stream ends the same with StatefulDataLoader; our own place works beside it."""
    stateful = pytest.importorskip("torchdata.stateful_dataloader")
    loader = stateful.StatefulDataLoader(stream(length=22), batch_size=None, num_workers=2)
    for _ in range(2):
        assert assert_in_order(list(loader)) == 22
    dataset = stream()
    source = iter(stateful.StatefulDataLoader(dataset, batch_size=None, num_workers=2))
    batches = list(itertools.islice(source, 3))
    place = dataset.state_dict(after=batches[1])
    del source
    other = stream()
    other.load_state_dict(place)
    assert_in_order(list(itertools.islice(other, 2)), start=8)


def test_lightning_trainer(tmp_path: pathlib.Path) -> None:
    """Epochs of Lightning's Trainer repeat nothing, and a checkpoint with our place goes on behind the last batch."""
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self, dataset: StreamingDataset) -> None:
            super().__init__()
            self.net = torch.nn.Conv2d(1, 1, 1)
            self.dataset = dataset
            self.seen: list[dict[str, Any]] = []

        def training_step(self, batch: dict[str, Any], _: int) -> torch.Tensor:
            self.seen.append(batch)
            return self.net(batch["image"]).mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["stream"] = self.dataset.state_dict(after=self.seen[-1])

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            self.dataset.load_state_dict(checkpoint["stream"])

    def fit(module: Module, epochs: int, **settings: Any) -> Any:
        trainer = lightning.Trainer(
            max_epochs=epochs,
            limit_train_batches=3,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(module, DataLoader(module.dataset, batch_size=None), **settings)
        return trainer

    one = Module(stream())
    trainer = fit(one, 2)
    seen = indices(one.seen)
    assert len(seen) == 24
    assert len(set(seen)) == len(seen)
    assert seen == sorted(seen)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    two = Module(stream())
    fit(two, 3, ckpt_path=tmp_path / "last.ckpt", weights_only=False)
    assert indices(two.seen) == list(range(seen[-1] + 1, seen[-1] + 13))


def test_accelerate() -> None:
    """Epochs of Accelerate, which prefetches a batch, repeat nothing, and a place behind the last batch is exact."""
    accelerate = pytest.importorskip("accelerate")
    configuration = accelerate.DataLoaderConfiguration(dispatch_batches=False)
    accelerator = accelerate.Accelerator(cpu=True, dataloader_config=configuration)
    dataset = stream(length=12)
    net = torch.nn.Conv2d(1, 1, 1)
    net, optimizer, loader = accelerator.prepare(
        net, torch.optim.SGD(net.parameters()), DataLoader(dataset, batch_size=None)
    )
    seen = []
    for batch in loader:
        accelerator.backward(net(batch["image"]).mean())
        optimizer.step()
        seen.append(batch)
    assert assert_in_order(seen) == 12
    endless = stream()
    loader = accelerator.prepare(DataLoader(endless, batch_size=None))
    epochs = [list(itertools.islice(loader, 3)) for _ in range(3)]
    flat = indices(itertools.chain(*epochs))
    assert len(set(flat)) == len(flat)
    assert flat == sorted(flat)
    place = endless.state_dict(after=epochs[-1][-1])
    endless.load_state_dict(place)
    assert_in_order(list(itertools.islice(loader, 2)), start=flat[-1] + 1)


def test_accelerate_shards_nothing_twice() -> None:
    """The dataset knows its rank, so Accelerate is told of one process: two ranks give each index once."""
    data_loader = pytest.importorskip("accelerate.data_loader")
    pytest.importorskip("accelerate").Accelerator(cpu=True)
    ranks = []
    for rank in range(2):
        loader = data_loader.prepare_data_loader(
            DataLoader(stream(rank=rank, world_size=2), batch_size=None),
            torch.device("cpu"),
            num_processes=1,
            process_index=0,
            put_on_device=True,
            dispatch_batches=False,
        )
        ranks.append(list(itertools.islice(loader, 4)))
    assert_each_once(ranks[0] + ranks[1], indices=range(32))


def test_monai_loaders() -> None:
    """MONAI's DataLoader and ThreadDataLoader take the stream, and its dictionary transforms its batches."""
    data = pytest.importorskip("monai.data")
    transforms = pytest.importorskip("monai.transforms")
    for loader in (data.DataLoader, data.ThreadDataLoader):
        # MONAI collates also what is a batch already, unless it is told not to.
        whole = loader(stream(length=20), batch_size=None, num_workers=0, collate_fn=dict)
        assert assert_in_order(list(whole)) == 20
        single = loader(stream(batch_size=None, length=20), batch_size=4, num_workers=0)
        assert assert_in_order(list(single)) == 20
    flip = transforms.Lambdad(keys="image", func=lambda image: image.flip(-1))
    with stream(transform=flip) as flipped, stream() as plain:
        one, other = next(iter(flipped)), next(iter(plain))
    assert torch.equal(one["image"], other["image"].flip(-1))
    assert torch.equal(one["mask"], other["mask"])


def train_in_ray(config: dict[str, Any]) -> None:
    """The training function of one Ray Train worker: writes down what it saw."""
    import pathlib

    import ray.train

    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    with StreamingDataset(
        FakeRecipe(), synth=FAKE, batch_size=4, engine=config["engine"], workers=config["workers"], pool=config["pool"]
    ) as dataset:
        seen = [batch["index"].tolist() for batch in itertools.islice(DataLoader(dataset, batch_size=None), 3)]
        place = dataset.state_dict()["next_index"]
    file = pathlib.Path(config["folder"]) / f"rank-{rank}.json"
    file.write_text(json.dumps({"seen": seen, "world": world, "place": place}))
    ray.train.report({"rank": rank})


@pytest.mark.parametrize(
    "config", [{"engine": "local", "workers": 1, "pool": None}, {"engine": "ray", "workers": 2, "pool": "training"}]
)
def test_ray_train(config: dict[str, Any], tmp_path: pathlib.Path) -> None:
    """Under Ray Train's torch trainer each rank gets its own part, also of one pool, and the same place."""
    pytest.importorskip("ray.train.torch", exc_type=ImportError)
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    source = compile_by_value(train_in_ray)
    folder = tempfile.mkdtemp(prefix="ns-test-", dir="/tmp")
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
    try:
        TorchTrainer(
            source,
            train_loop_config={"folder": str(tmp_path), **config},
            torch_config=TorchConfig(backend="gloo"),
            scaling_config=ScalingConfig(num_workers=2, use_gpu=False),
            run_config=RunConfig(storage_path=str(tmp_path / "runs")),
        ).fit()
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
    ranks = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2)]
    assert [rank["world"] for rank in ranks] == [2, 2]
    assert [rank["place"] for rank in ranks] == [24, 24]
    together = [batch for step in zip(ranks[0]["seen"], ranks[1]["seen"], strict=True) for batch in step]
    assert list(itertools.chain(*together)) == list(range(24))


def compile_by_value(function: Any) -> Any:
    """Have Ray carry this file's functions along: its workers cannot import a test."""
    import sys

    from ray import cloudpickle

    with contextlib.suppress(ValueError):
        cloudpickle.register_pickle_by_value(sys.modules[function.__module__])
    return function
