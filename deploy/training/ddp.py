"""A DistributedDataParallel training fed by one pool of render workers that all its ranks share.

    torchrun --nproc-per-node 2 deploy/training/ddp.py tio2-sem --workers 8 --steps 1000 --state place.json

Run again with another number of ranks, it goes on behind the last step: no index comes twice, none is
left out. SIGTERM ends it after the step that is under way. RAY_ADDRESS names the cluster.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import signal
import time

import ray
import torch
import torch.distributed as dist
from monai.networks.nets import UNet  # type: ignore[reportPrivateImportUsage]
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

import nanostream as ns
from nanostream.stream.engine import SYNTH, resolve
from nanostream.telemetry import serve_metrics


def options() -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", help="name of a preset, or path of a recipe file")
    parser.add_argument("--steps", type=int, default=1000, help="steps to train in all")
    parser.add_argument("--batch-size", type=int, default=8, help="samples a rank takes in one step")
    parser.add_argument("--workers", type=int, default=2, help="render workers that all ranks share")
    parser.add_argument("--state", type=pathlib.Path, default=pathlib.Path("place.json"), help="where to go on from")
    parser.add_argument("--indices", type=pathlib.Path, help="folder for the indices that each rank took")
    parser.add_argument("--metrics-port", type=int, help="serve Prometheus's page here; each rank adds its number")
    parser.add_argument("--synth", default=SYNTH, help=argparse.SUPPRESS)
    parser.add_argument("--recipe-class", default="nanostream.recipe:Recipe", help=argparse.SUPPRESS)
    return parser.parse_args()


def join_ray(seconds: float = 300.0) -> None:
    """Join the cluster and wait for NANOSTREAM_NODES nodes; raises SystemExit that says how many came."""
    ray.init(address=os.environ["RAY_ADDRESS"], namespace="nanostream", log_to_driver=False, configure_logging=False)
    count, until = int(os.environ.get("NANOSTREAM_NODES", "1")), time.monotonic() + seconds
    while (there := sum(node["Alive"] for node in ray.nodes())) < count:
        if time.monotonic() > until:
            message = f"expected {count} Ray nodes within {seconds:g} s, got {there}: look at the output of their srun"
            raise SystemExit(message)
        time.sleep(1.0)


def save(model: torch.nn.Module, state: dict[str, object], path: pathlib.Path) -> None:
    """Weights and place in one file, which is there whole or not at all."""
    partial = path.with_suffix(".partial")
    torch.save({"model": model.state_dict(), "stream": state}, partial)
    partial.replace(path)


def main() -> None:
    """Train."""
    words = options()
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    stop = torch.zeros(1, device=device)
    join_ray()
    # After Ray, which puts a handler of its own there.
    signal.signal(signal.SIGTERM, lambda *_: stop.fill_(1))

    torch.manual_seed(0)
    net = UNet(2, 1, 2, channels=(16, 32, 64), strides=(2, 2)).to(device)
    model = DistributedDataParallel(net, device_ids=[local] if device.type == "cuda" else None)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    recipe = ns.Recipe.named(words.preset) if words.synth == SYNTH else resolve(words.recipe_class)()
    # One name for all ranks: the first one starts the workers, and the last one ends them.
    pool = f"ddp-{os.environ.get('TORCHELASTIC_RUN_ID', 'run')}-{os.environ['MASTER_PORT']}"
    stream = ns.StreamingDataset(
        recipe, batch_size=words.batch_size, engine="ray", workers=words.workers, pool=pool, synth=words.synth
    )
    with contextlib.ExitStack() as stack:
        stack.callback(dist.destroy_process_group)
        stack.enter_context(stream)
        if words.metrics_port is not None:
            stack.enter_context(serve_metrics(words.metrics_port + rank, host="0.0.0.0"))  # noqa: S104 - Prometheus asks
        if words.state.exists():
            saved = torch.load(words.state, map_location=device, weights_only=True)
            net.load_state_dict(saved["model"])
            stream.load_state_dict(saved["stream"])
        log = stack.enter_context((words.indices / f"rank{rank}.jsonl").open("a")) if words.indices else None
        for step, batch in enumerate(DataLoader(stream, batch_size=None)):
            loss = torch.nn.functional.cross_entropy(
                model(batch["image"].to(device)), (batch["mask"] > 0).long().to(device)
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if log is not None:
                log.write(json.dumps({"ranks": ranks, "index": batch["index"].tolist()}) + "\n")
                log.flush()
            # All ranks stop behind the same step, whichever of them was told to.
            dist.all_reduce(stop, dist.ReduceOp.MAX)
            last = bool(stop) or step + 1 >= words.steps
            if rank == 0 and (last or step % 100 == 0):
                save(net, stream.state_dict(after=batch), words.state)
                waited = stream.stats.starved_share
                print(f"step {step} loss {loss.item():.3f} waited {waited:.1%} of the time", flush=True)
            if last:
                break


if __name__ == "__main__":
    main()
