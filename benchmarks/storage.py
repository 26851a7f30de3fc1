"""Samples at rest: bytes a sample, and samples/s written and read, against what other libraries do.

    python benchmarks/storage.py [--count 256] [--preset tio2-sem] [--peer-python peers/bin/python]

One process, one thread. Rates are medians of passes over the same rendered samples, in which what is compared
takes turns; the files lie in a temporary folder and are in the system's cache when they are read. MosaicML
streaming and litData are measured in an environment of their own, see benchmarks/peers_converted.py.
Ends with what was to be reached, and whether it was.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile
import time
import warnings
from typing import TYPE_CHECKING, Any

import numcodecs
import numpy as np
import zarr

from nanostream.export import FORMATS, write
from nanostream.formats.encoded import Encoded
from nanostream.formats.sinks import encoder
from nanostream.formats.webdataset_reader import ShardReader
from nanostream.formats.zarr_reader import ZarrReader
from nanostream.recipe import Recipe
from nanostream.synth import Synth

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanostream.sample import Sample

_PASSES, _RENDERED = 5, 32
_BLOSC = ("zstd", 1), ("zstd", 3), ("zstd", 5), ("lz4", 1), ("lz4", 5), ("lz4hc", 5), ("zlib", 5)
_MOST_OVERHEAD, _LEAST_SHARDS, _LEAST_ZARR = 0.05, 1.0, 1.5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--preset", default="tio2-sem")
    parser.add_argument("--peer-python", help="python of an environment with MosaicML streaming and litData")
    options = parser.parse_args()
    recipe = Recipe.preset(options.preset)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="nanostream-") as name:
        folder = pathlib.Path(name)
        synth = Synth(recipe)
        samples = [synth.render(seed=0, index=index) for index in range(options.count)]
        height, width = samples[0].image.shape
        print(f"{options.count} samples of {options.preset}, {height}x{width}")
        verdicts = written(samples, folder, recipe, synth)
        others_written(samples, folder)
        verdicts += read(samples, folder)
        peers(folder, options.peer_python)
        codecs(samples)
        layouts(samples, folder, recipe)
    print("\n| to reach | needed | measured | |\n|---|---|---|---|")
    for what, needed, measured, holds in verdicts:
        print(f"| {what} | {needed} | {measured} | {'holds' if holds else 'MISSED'} |")


def medians(ways: dict[str, Callable[[int], object]], passes: int = _PASSES) -> dict[str, float]:
    """Median time of each way, called with the number of the pass; all take turns, so a busy moment meets all."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(passes):
        for name, way in ways.items():
            began = time.perf_counter()
            way(number)
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(some) for name, some in seconds.items()}


def size_of(target: pathlib.Path) -> tuple[int, int]:
    """Bytes and number of the files in a folder, or of one file."""
    files = [target] if target.is_file() else [path for path in target.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files), len(files)


def written(samples: list[Sample], folder: pathlib.Path, recipe: Recipe, synth: Synth) -> list[Any]:
    """Every sink: encoding and writing in one process, and what that is beside rendering some of the samples again."""
    described, count = recipe.model_dump(mode="json"), len(samples)

    def into(form: str) -> Callable[[int], object]:
        return lambda number: write(
            samples, recipe=described, format=form, count=count, out=folder / f"{form}-{number}"
        )

    def encoding(form: str) -> Callable[[int], object]:
        encode = encoder(form)
        return lambda _: [Encoded.of(sample, encode) for sample in samples]

    some = range(min(count, _RENDERED))
    rendering = {"rendering": lambda _: [synth.render(seed=0, index=index) for index in some]}
    writing = medians(rendering | {form: into(form) for form in FORMATS})
    render_seconds = writing.pop("rendering") / len(some)
    print(f"{1e3 * render_seconds:.1f} ms to render each")
    alone = medians({form: encoding(form) for form in FORMATS})
    print("\n| sink | write samples/s | encode ms | bytes a sample | files | of the rendering time |")
    print("|---|---|---|---|---|---|")
    verdicts = []
    for form, seconds in writing.items():
        nbytes, files = size_of(folder / f"{form}-0")
        share = seconds / count / render_seconds
        print(
            f"| {form} | {count / seconds:.0f} | {1e3 * alone[form] / count:.2f} | {nbytes / count:.0f} | {files} | "
            f"{100 * share:.1f} % |"
        )
        need = f"below {100 * _MOST_OVERHEAD:.0f} % of rendering"
        verdicts.append((f"writing {form}", need, f"{100 * share:.1f} %", share < _MOST_OVERHEAD))
    return verdicts


def others_written(samples: list[Sample], folder: pathlib.Path) -> None:
    """Webdataset's own writer with its own encoders, and plain Zarr."""
    import webdataset

    def tar(number: int) -> None:
        with webdataset.TarWriter(str(folder / f"own-{number}.tar"), mtime=0) as sink:
            for one in samples:
                record = {"__key__": f"{one.index:016d}", "image.png": one.image, "mask.npy": one.mask}
                sink.write({**record, "meta.json": one.meta})

    def plain(number: int) -> None:
        root = zarr.create_group(folder / f"plain-{number}")
        for name in ("image", "mask"):
            first = getattr(samples[0], name)
            array = root.create_array(
                name, shape=(len(samples), *first.shape), dtype=first.dtype, chunks=(1, *first.shape)
            )
            for row, one in enumerate(samples):
                array[row] = getattr(one, name)

    found = {"webdataset TarWriter": "own-0.tar", "zarr, one call a sample": "plain-0"}
    seconds = medians(dict(zip(found, (tar, plain), strict=True)), 3)
    for name, target in found.items():
        nbytes, files = size_of(folder / target)
        print(f"| {name} | {len(samples) / seconds[name]:.0f} | | {nbytes / len(samples):.0f} | {files} | |")


def read(samples: list[Sample], folder: pathlib.Path) -> list[Any]:
    """Both readers against the libraries' own way to the same decoded samples."""
    import webdataset

    count = len(samples)
    order = np.random.default_rng(0).permutation(count).tolist()
    shards = sorted(str(path) for path in (folder / "webdataset-0").glob("*.tar"))
    store, plain = (zarr.open_group(folder / name, mode="r") for name in ("zarr-0", "plain-0"))
    reader = ZarrReader(folder / "zarr-0")

    def by_webdataset(_: int) -> None:
        records = list(webdataset.WebDataset(shards, shardshuffle=False).decode("l8"))
        assert len(records) == count

    def by_zarr(root: Any) -> Callable[[int], object]:
        return lambda _: [(root["image"][row], root["mask"][row]) for row in order]

    names = (
        "ShardReader, in order, metadata too",
        "webdataset .decode('l8') of the same shards",
        "ZarrReader, random, one sample a call",
        "zarr, random, one call a sample, same store",
        "zarr, random, one call a sample, unsharded",
        "ZarrReader, in order, metadata too",
    )
    ways = (
        lambda _: list(ShardReader(folder / "webdataset-0").samples(range(count))),
        by_webdataset,
        lambda _: [next(reader.samples([row], meta=False)) for row in order],
        by_zarr(store),
        by_zarr(plain),
        lambda _: list(reader.samples(range(count))),
    )
    seconds = medians(dict(zip(names, ways, strict=True)))
    print("\n| reader | samples/s |\n|---|---|")
    for name, took in seconds.items():
        print(f"| {name} | {count / took:.0f} |")
    own, theirs, zarr_own, *zarr_theirs = list(seconds.values())[:5]
    shard_times, zarr_times = theirs / own, min(zarr_theirs) / zarr_own
    return [
        (
            "ShardReader beside webdataset's pipeline",
            f"at least {_LEAST_SHARDS:.1f} times",
            f"{shard_times:.2f} times",
            shard_times >= _LEAST_SHARDS,
        ),
        (
            "ZarrReader, random, beside one call of zarr a sample",
            f"at least {_LEAST_ZARR:.1f} times",
            f"{zarr_times:.2f} times",
            zarr_times >= _LEAST_ZARR,
        ),
    ]


def peers(folder: pathlib.Path, python: str | None) -> None:
    """MosaicML streaming and litData on the same samples, in their own environment."""
    print("\n| library | write samples/s | read samples/s in order | at random | bytes a sample | files |")
    print("|---|---|---|---|---|---|")
    if python is None:
        print("| MosaicML streaming, litData | not measured: name their environment with --peer-python | | | | |")
        return
    script = pathlib.Path(__file__).with_name("peers_converted.py")
    done = subprocess.run(
        [python, script, folder / "webdataset-0", folder / "peers"], stdout=subprocess.PIPE, check=True
    )
    for row in json.loads(done.stdout)["rows"]:
        rates = " | ".join(f"{row[what]:.0f}" if what in row else "" for what in ("in order", "random"))
        print(f"| {row['name']} | {row['write']:.0f} | {rates} | {row['bytes']:.0f} | {row['files']} |")


def codecs(samples: list[Sample]) -> None:
    """What Zarr's chunks would take with other codecs."""
    some = samples[:32]
    print("\n| codec | image bytes | pack ms | unpack ms | mask bytes | pack ms | unpack ms |")
    print("|---|---|---|---|---|---|---|")
    fields = ("image", numcodecs.Blosc.NOSHUFFLE), ("mask", numcodecs.Blosc.SHUFFLE)
    rows: dict[str, list[Any]] = {
        f"blosc {name} {level}": [numcodecs.Blosc(cname=name, clevel=level, shuffle=how) for _, how in fields]
        for name, level in _BLOSC
    }
    rows |= {"zstd 1": [numcodecs.Zstd(level=1)] * 2, "gzip 5": [numcodecs.GZip(level=5)] * 2}
    for name, pair in rows.items():
        cells = []
        for (field, _), codec in zip(fields, pair, strict=True):
            pictures = [np.ascontiguousarray(getattr(one, field)) for one in some]
            packed = [bytes(codec.encode(one)) for one in pictures]
            seconds = medians(
                {
                    "pack": lambda _, codec=codec, pictures=pictures: [codec.encode(one) for one in pictures],
                    "unpack": lambda _, codec=codec, packed=packed: [codec.decode(one) for one in packed],
                }
            )
            cells.append(f"{sum(map(len, packed)) / len(some):.0f}")
            cells += [f"{1e3 * took / len(some):.2f}" for took in seconds.values()]
        print(f"| {name} | {' | '.join(cells)} |")


def layouts(samples: list[Sample], folder: pathlib.Path, recipe: Recipe) -> None:
    """What a Zarr store takes with other numbers of samples a shard."""
    count = len(samples)
    described = recipe.model_dump(mode="json")
    order = np.random.default_rng(0).permutation(count).tolist()
    print("\n| samples a shard | write samples/s | bytes a sample | files | ZarrReader, random | zarr, random |")
    print("|---|---|---|---|---|---|")
    for size in sorted({1, 16, 64, count}):

        def out(number: int, size: int = size) -> pathlib.Path:
            return folder / f"layout-{size}-{number}"

        def store(number: int, size: int = size) -> object:
            target = out(number, size)
            return write(samples, recipe=described, format="zarr", count=count, out=target, shard_size=size)

        writing = medians({"write": store}, 3)["write"]
        nbytes, files = size_of(out(0))
        reader, root = ZarrReader(out(0)), zarr.open_group(out(0), mode="r")
        seconds = medians(
            {
                "ours": lambda _, reader=reader: [next(reader.samples([row], meta=False)) for row in order],
                "zarr": lambda _, root=root: [(root["image"][row], root["mask"][row]) for row in order],
            },
            3,
        )
        rates = " | ".join(f"{count / took:.0f}" for took in seconds.values())
        print(f"| {size} | {count / writing:.0f} | {nbytes / count:.0f} | {files} | {rates} |")


if __name__ == "__main__":
    main()
