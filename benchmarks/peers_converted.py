"""MosaicML streaming and litData reading a set of ours: converted by the functions below, compared and measured.

    python benchmarks/peers_converted.py SHARDS OUT

It runs in an environment of its own, without nanostream: both libraries require torchvision, whose
builds bring gigabytes of CUDA, and MosaicML streaming an older numpy. Neither uses more of torchvision than
its names here, so a build of it without its compiled half will do:

    python -m venv peers
    peers/bin/pip install torch==2.13.0 "numpy<2.2" webdataset pillow boto3 brotli catalogue filelock \
        lightning-utilities matplotlib obstore python-snappy requests tifffile tqdm "transformers<5" xxhash zstd
    peers/bin/pip install --no-deps torchvision==0.16.2 mosaicml-streaming==0.13.0 litdata==0.2.76

and is started by `python benchmarks/storage.py --peer-python peers/bin/python`, or by hand on what
`nanostream export tio2-sem --format webdataset -n 256 -o SHARDS` wrote. Prints one JSON object: a list of
rows for the table, and the SHA-256 of the pixels that each library read.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib
import random
import statistics
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_PASSES = 5


def samples(shards: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Samples of a folder of shards, by the webdataset library."""
    import webdataset

    names = sorted(map(str, shards.glob("*.tar")))
    for record in webdataset.WebDataset(names, shardshuffle=False).decode("l8"):
        meta = record["meta.json"]
        # litData wants the same nesting in every sample, so what has a length of its own is text.
        yield {
            "index": meta["index"],
            "image": np.asarray(record["image.png"]),
            "mask": record["mask.npy.gz"],
            "meta": json.dumps(meta),
        }


def to_mds(ones: list[dict[str, Any]], out: pathlib.Path, compression: str | None = None) -> None:
    """Convert to MosaicML's shards; mask and image stay uint16 and uint8."""
    import streaming

    columns = {"index": "int", "image": "ndarray", "mask": "ndarray", "meta": "str"}
    with streaming.MDSWriter(out=str(out), columns=columns, compression=compression) as writer:
        for one in ones:
            writer.write(one)


def to_litdata(ones: list[dict[str, Any]], out: pathlib.Path) -> None:
    """Convert to litData's chunks, in this process; `litdata.optimize` does the same with workers of its own."""
    import litdata.streaming

    cache = litdata.streaming.Cache(str(out), chunk_bytes="64MB")
    for number, one in enumerate(ones):
        cache[number] = one
    cache.done()
    cache.merge()


def digests(ones: list[dict[str, Any]]) -> list[str]:
    """SHA-256 of index, image and mask of each sample."""
    return [
        hashlib.sha256(
            b"%d" % one["index"] + np.asarray(one["image"]).tobytes() + np.asarray(one["mask"], "<u2").tobytes()
        ).hexdigest()
        for one in ones
    ]


def median(work: Callable[[Any], object], given: Iterable[Any]) -> float:
    """Median time of `work` over some arguments, which are made before the clock starts."""
    seconds = []
    for one in given:
        began = time.perf_counter()
        work(one)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def measure(shards: pathlib.Path, out: pathlib.Path, *, passes: int = _PASSES) -> dict[str, Any]:
    """Write and read a set with each library."""
    import litdata
    import streaming

    ones = list(samples(shards))
    order = random.Random(0).sample(range(len(ones)), len(ones))
    ways: list[tuple[str, Callable[[pathlib.Path], None], Callable[[pathlib.Path], Any]]] = [
        ("MosaicML MDS", lambda to: to_mds(ones, to), lambda to: streaming.LocalDataset(str(to))),
        (
            "MosaicML MDS, zstd",
            lambda to: to_mds(ones, to, "zstd"),
            lambda to: streaming.StreamingDataset(local=str(to), shuffle=False, batch_size=1),
        ),
        ("litData", lambda to: to_litdata(ones, to), lambda to: litdata.StreamingDataset(str(to))),
    ]
    rows, pixels = [], {}
    for name, write, read in ways:
        where = name.replace(" ", "-").replace(",", "")
        writing = median(write, [out / f"{where}-{number}" for number in range(3)])
        files = [path for path in (out / f"{where}-0").rglob("*") if path.is_file()]
        nbytes = sum(path.stat().st_size for path in files)
        data = read(out / f"{where}-0")
        got = list(data) if name.endswith("zstd") else [data[row] for row in range(len(ones))]
        assert [json.loads(one["meta"]) for one in got] == [json.loads(one["meta"]) for one in ones], name
        pixels[name] = digests(got)
        # A pass over compressed shards unpacks them, and keeps them so; only the rest can be read again as it lies.
        again = {} if name.endswith("zstd") else {"in order": range(len(ones)), "random": order}
        # litData keeps what it has read: each pass has a reader of its own.
        rates = {
            what: len(ones)
            / median(
                lambda data, which=which: [data[row] for row in which],
                (read(out / f"{where}-0") for _ in range(passes)),
            )
            for what, which in again.items()
        }
        row = {"name": name, "write": len(ones) / writing, "bytes": nbytes / len(ones), "files": len(files), **rates}
        rows.append(row)
    return {"rows": rows, "pixels": pixels}


def main() -> None:
    """Convert, compare, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--passes", type=int, default=_PASSES)
    options = parser.parse_args()
    # Both print what they do; the table alone goes to stdout.
    shown = os.dup(1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    found = measure(options.shards, options.out, passes=options.passes)
    os.write(shown, json.dumps(found).encode())


if __name__ == "__main__":
    main()
