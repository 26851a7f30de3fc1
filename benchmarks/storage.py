"""Samples at rest: bytes a sample, and samples/s written and read, against what other libraries do.

    python benchmarks/storage.py [--count 256] [--preset tio2-sem]

One process, one thread. Rates are medians of several passes over the same rendered samples; the files
lie in a temporary folder and are in the system's cache when they are read. MosaicML streaming and
litData bring torchvision and are measured where they are installed, in an environment of their own.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import pathlib
import statistics
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

_PASSES = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--preset", default="tio2-sem")
    options = parser.parse_args()
    recipe = Recipe.preset(options.preset)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="nanostream-") as name:
        folder = pathlib.Path(name)
        samples, render_seconds = rendered(recipe, options.count)
        height, width = samples[0].image.shape
        took = f"{1e3 * render_seconds:.1f} ms to render each"
        print(f"{options.count} samples of {options.preset}, {height}x{width}, {took}")
        written(samples, folder, recipe, render_seconds)
        others_written(samples, folder)
        read(samples, folder)
        codecs(samples)


def rendered(recipe: Recipe, count: int) -> tuple[list[Sample], float]:
    """The first samples, and the median time that one took."""
    synth = Synth(recipe)
    samples, seconds = [], []
    for index in range(count):
        began = time.perf_counter()
        samples.append(synth.render(seed=0, index=index))
        seconds.append(time.perf_counter() - began)
    return samples, statistics.median(seconds)


def median(work: Callable[[], object], passes: int = _PASSES) -> float:
    """Median time of some passes."""
    seconds = []
    for _ in range(passes):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def written(samples: list[Sample], folder: pathlib.Path, recipe: Recipe, render_seconds: float) -> None:
    """Every sink: encoding and writing in one process, and what that is beside rendering."""
    print("\n| sink | write samples/s | encode ms | bytes a sample | files | of the rendering time |")
    print("|---|---|---|---|---|---|")
    for form in FORMATS:
        numbers = itertools.count()

        def one_pass(form: str = form, numbers: itertools.count[int] = numbers) -> None:
            out = folder / f"{form}-{next(numbers)}"
            write(samples, recipe=recipe.model_dump(mode="json"), format=form, count=len(samples), out=out)

        seconds = median(one_pass, 3) / len(samples)
        encode = encoder(form)
        encoding = median(lambda encode=encode: [Encoded.of(sample, encode) for sample in samples], 3) / len(samples)
        files = [path for path in (folder / f"{form}-0").rglob("*") if path.is_file()]
        nbytes = sum(path.stat().st_size for path in files) / len(samples)
        print(
            f"| {form} | {1 / seconds:.0f} | {1e3 * encoding:.2f} | {nbytes:.0f} | {len(files)} | "
            f"{100 * seconds / render_seconds:.1f} % |"
        )


def others_written(samples: list[Sample], folder: pathlib.Path) -> None:
    """Webdataset's own writer with its own encoders, plain Zarr, and MDS and litData where they are installed."""
    import webdataset

    numbers = itertools.count()

    def tar() -> None:
        with webdataset.TarWriter(str(folder / f"own-{next(numbers)}.tar"), mtime=0) as sink:
            for one in samples:
                record = {"__key__": f"{one.index:016d}", "image.png": one.image, "mask.npy": one.mask}
                sink.write({**record, "meta.json": one.meta})

    def plain() -> None:
        root = zarr.create_group(folder / f"plain-{next(numbers)}")
        for name in ("image", "mask"):
            first = getattr(samples[0], name)
            array = root.create_array(
                name, shape=(len(samples), *first.shape), dtype=first.dtype, chunks=(1, *first.shape)
            )
            for row, one in enumerate(samples):
                array[row] = getattr(one, name)

    for label, work, found in (
        ("webdataset TarWriter", tar, "own-0.tar"),
        ("zarr, one call a sample", plain, "plain-3"),
    ):
        seconds = median(work, 3) / len(samples)
        target = folder / found
        files = [target] if target.is_file() else [path for path in target.rglob("*") if path.is_file()]
        nbytes = sum(path.stat().st_size for path in files) / len(samples)
        print(f"| {label} | {1 / seconds:.0f} | | {nbytes:.0f} | {len(files)} | |")
    if importlib.util.find_spec("streaming"):
        mds(samples, folder)
    else:
        print("| MosaicML MDS | not installed here | | | | |")
    print(
        "| litData | not installed here | | | | |"
        if not importlib.util.find_spec("litdata")
        else "| litData | see its own script | | | | |"
    )


def mds(samples: list[Sample], folder: pathlib.Path) -> None:
    """MosaicML streaming's writer and reader on the same pixels."""
    from streaming import LocalDataset, MDSWriter  # type: ignore[import-not-found]

    columns = {"index": "int", "image": "ndarray", "mask": "ndarray", "meta": "json"}
    numbers = itertools.count()

    def work() -> None:
        with MDSWriter(out=str(folder / f"mds-{next(numbers)}"), columns=columns, compression="zstd:1") as sink:
            for one in samples:
                sink.write({"index": one.index, "image": one.image, "mask": one.mask, "meta": one.meta})

    seconds = median(work, 3) / len(samples)
    nbytes = sum(path.stat().st_size for path in (folder / "mds-0").rglob("*")) / len(samples)
    data = LocalDataset(str(folder / "mds-0"))
    reading = median(lambda: [data[row] for row in range(len(samples))], 3) / len(samples)
    print(f"| MosaicML MDS | {1 / seconds:.0f} (read {1 / reading:.0f}) | | {nbytes:.0f} | | |")


def read(samples: list[Sample], folder: pathlib.Path) -> None:
    """Both readers against the libraries' own way to the same decoded samples."""
    import webdataset

    count = len(samples)
    order = np.random.default_rng(0).permutation(count).tolist()
    shards = sorted(str(path) for path in (folder / "webdataset-0").glob("*.tar"))
    store = zarr.open_group(folder / "zarr-0", mode="r")
    plain = zarr.open_group(folder / "plain-3", mode="r")
    reader = ZarrReader(folder / "zarr-0")

    def by_webdataset() -> None:
        records = list(webdataset.WebDataset(shards, shardshuffle=False).decode("l8"))
        assert len(records) == count

    def by_zarr(root: Any) -> None:
        for row in order:
            _ = root["image"][row], root["mask"][row]

    ways: list[tuple[str, Callable[[], object]]] = [
        (
            "ShardReader, in order, metadata too",
            lambda: list(ShardReader(folder / "webdataset-0").samples(range(count))),
        ),
        ("webdataset .decode('l8') of the same shards", by_webdataset),
        ("ZarrReader, random, one sample a call", lambda: [next(reader.samples([row], meta=False)) for row in order]),
        ("zarr, random, one call a sample, same store", lambda: by_zarr(store)),
        ("zarr, random, one call a sample, unsharded", lambda: by_zarr(plain)),
        ("ZarrReader, in order, metadata too", lambda: list(reader.samples(range(count)))),
    ]
    rates = {}
    print("\n| reader | samples/s |\n|---|---|")
    for name, way in ways:
        rates[name] = count / median(way)
        print(f"| {name} | {rates[name]:.0f} |")
    ours = list(rates.values())
    print(f"\nShardReader: {ours[0] / ours[1]:.2f} times webdataset")
    print(f"ZarrReader: {ours[2] / max(ours[3], ours[4]):.2f} times one call of zarr a sample")


def codecs(samples: list[Sample]) -> None:
    """What Zarr's chunks would take with other codecs."""
    print("\n| codec | image bytes | ms | mask bytes | ms |\n|---|---|---|---|---|")
    some = samples[:32]
    for name, level in (("zstd", 1), ("zstd", 3), ("zstd", 5), ("lz4", 1), ("lz4", 5), ("zlib", 5)):
        cells = []
        for field, shuffle in (("image", numcodecs.Blosc.NOSHUFFLE), ("mask", numcodecs.Blosc.SHUFFLE)):
            codec = numcodecs.Blosc(cname=name, clevel=level, shuffle=shuffle)
            pictures = [getattr(one, field) for one in some]
            seconds = median(lambda codec=codec, pictures=pictures: [codec.encode(one) for one in pictures]) / len(some)
            nbytes = sum(len(codec.encode(one)) for one in pictures) / len(some)
            cells += [f"{nbytes:.0f}", f"{1e3 * seconds:.2f}"]
        print(f"| blosc {name} {level} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
