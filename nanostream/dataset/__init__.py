"""The stream as PyTorch takes it, and as others' loaders and trainers do.

    stream = StreamingDataset(recipe, seed=0, batch_size=16, engine="ray", workers=4)
    for batch in DataLoader(stream, batch_size=None):
        batch["image"], batch["mask"], batch["index"]
        state = stream.state_dict(after=batch)

torch, with workers that prepare batches beside the training; where Ray renders they must not be forked:

    loader = DataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context="spawn", pin_memory=True)
    for batch in itertools.islice(loader, 100):
        train(batch)
        state = stream.state_dict(after=batch)

torchdata, whose loader knows its own place:

    from torchdata.stateful_dataloader import StatefulDataLoader

    loader = StatefulDataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context="spawn")
    for batch in itertools.islice(loader, 100):
        train(batch)
    state = loader.state_dict()

    loader = StatefulDataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context="spawn")
    loader.load_state_dict(state)

Lightning, with the place in its checkpoints:

    import lightning

    class Module(lightning.LightningModule):
        def __init__(self, net, stream):
            super().__init__()
            self.net, self.stream = net, stream

        def training_step(self, batch, _):
            self.last = batch["next_index"]
            return loss(self.net(batch["image"]), batch["mask"])

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

        def on_save_checkpoint(self, checkpoint):
            checkpoint["stream"] = self.stream.state_dict(after={"next_index": self.last})

        def on_load_checkpoint(self, checkpoint):
            self.stream.load_state_dict(checkpoint["stream"])

    trainer = lightning.Trainer(max_epochs=2, limit_train_batches=50)
    trainer.fit(Module(net, stream), DataLoader(stream, batch_size=None))

Accelerate; the stream knows its rank, so Accelerate is to share nothing out again:

    from accelerate import Accelerator, DataLoaderConfiguration
    from accelerate.data_loader import prepare_data_loader

    accelerator = Accelerator(dataloader_config=DataLoaderConfiguration(dispatch_batches=False))
    net, optimizer = accelerator.prepare(net, torch.optim.Adam(net.parameters()))
    loader = prepare_data_loader(
        DataLoader(stream, batch_size=None),
        accelerator.device,
        num_processes=1,
        process_index=0,
        put_on_device=True,
        dispatch_batches=False,
    )
    for batch in itertools.islice(loader, 100):
        accelerator.backward(loss(net(batch["image"]), batch["mask"]))
        optimizer.step()
        optimizer.zero_grad()
        state = stream.state_dict(after=batch)

MONAI, which would collate what is a batch already:

    import monai.data

    loader = monai.data.DataLoader(stream, batch_size=None, num_workers=0, collate_fn=dict)
    for batch in itertools.islice(loader, 100):
        train(batch)

Ray Train, with one pool of render workers for all ranks, in the Ray that trains:

    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    def train_one_rank(config):
        with StreamingDataset(recipe, batch_size=16, engine="ray", workers=2, pool="training") as stream:
            for batch in itertools.islice(DataLoader(stream, batch_size=None), 100):
                train(batch)

    TorchTrainer(train_one_rank, scaling_config=ScalingConfig(num_workers=2)).fit()
"""

from __future__ import annotations

from nanostream.dataset.streaming import StreamingDataset

__all__ = ["StreamingDataset"]
