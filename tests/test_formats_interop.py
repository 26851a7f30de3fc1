"""One range of a stream in every format, each opened with other people's tools: the same pixels everywhere."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import torch
import zarr
from PIL import Image
from pycocotools.coco import COCO

from nanostream.dataset import StreamingDataset
from nanostream.export import FORMATS, export
from nanostream.formats.coco import encode as encode_coco
from nanostream.recipe import Recipe
from nanostream.sample import Sample
from nanostream.stored import ShardDataset, ZarrDataset
from nanostream.synth import render

if TYPE_CHECKING:
    import pathlib

_START, _COUNT, _SEED = 5, 9, 3

# pycocotools hands its masks to numpy 2 in the way of numpy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Pixels = list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]
"""Image and mask of each sample, in the order of the indices."""


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """The preset, in pictures small enough to render them for every format."""
    return Recipe.preset("tio2-sem").replaced("picture.height=96", "picture.width=130")


@pytest.fixture(scope="module")
def sets(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with one export in each format."""
    folder = tmp_path_factory.mktemp("sets")
    for form in FORMATS:
        export(recipe, format=form, count=_COUNT, out=folder / form, seed=_SEED, start=_START, shard_size=4)
    return folder


@pytest.fixture(scope="module")
def rendered(recipe: Recipe) -> list[Sample]:
    return [render(recipe, index, _SEED) for index in range(_START, _START + _COUNT)]


def by_dataset(dataset: Any) -> Pixels:
    """Batches of a dataset, taken apart."""
    found = []
    for batch in dataset:
        images = np.rint(batch["image"][:, 0].numpy() * 255).astype(np.uint8)
        found += list(zip(images, batch["mask"].numpy(), strict=True))
    return found


def by_webdataset(folder: pathlib.Path, spec: str = "l8") -> Pixels:
    """Shards through the webdataset library's own decoder."""
    wds = pytest.importorskip("webdataset")
    shards = sorted(str(path) for path in folder.glob("*.tar"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of its own use of older interfaces
        records = list(wds.WebDataset(shards, shardshuffle=False).decode(spec))
    return [(np.asarray(record["image.png"]), record["mask.npy.gz"]) for record in records]


def by_ome(folder: pathlib.Path) -> Pixels:
    """Level 0 of every series, through zarr-python."""
    roots = [zarr.open_group(folder / str(series), mode="r") for series in range(_COUNT)]
    return [(np.asarray(root["0"][:]), np.asarray(root["labels/particles/0"][:])) for root in roots]  # type: ignore[index]


def by_coco(folder: pathlib.Path) -> Pixels:
    """Pictures through Pillow, masks put together from pycocotools' decoded instances."""
    coco = COCO(str(folder / "annotations.json"))
    found = []
    for entry in coco.loadImgs(sorted(coco.getImgIds())):
        mask = np.zeros((entry["height"], entry["width"]), np.uint16)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[entry["id"]])):
            own = coco.annToMask(annotation).astype(bool)
            assert not mask[own].any()
            mask[own] = annotation["label"]
        found.append((np.asarray(Image.open(folder / "images" / entry["file_name"])), mask))
    return found


def by_nnunet(folder: pathlib.Path) -> Pixels:
    """Cases of the folder, through Pillow and tifffile; classes must be what the instances say."""
    found = []
    for image in sorted((folder / "imagesTr").iterdir()):
        case = image.name.removesuffix("_0000.png")
        instances = tifffile.imread(folder / "instancesTr" / f"{case}.tif")
        assert (np.asarray(Image.open(folder / "labelsTr" / f"{case}.png")) == (instances > 0)).all()
        found.append((np.asarray(Image.open(image)), instances))
    return found


@pytest.mark.slow
def test_every_format_holds_the_same_pixels(recipe: Recipe, sets: pathlib.Path, rendered: list[Sample]) -> None:
    """Live stream, webdataset's decoder, Zarr, OME-Zarr level 0, COCO, nnU-Net and both datasets hold the same."""
    with StreamingDataset(recipe, seed=_SEED, batch_size=4, length=_START + _COUNT) as stream:
        stream.load_state_dict({**stream.state_dict(), "next_index": _START})
        live = by_dataset(stream)
    store = zarr.open_group(sets / "zarr", mode="r")
    found: dict[str, Pixels] = {
        "live": live,
        "webdataset": by_webdataset(sets / "webdataset"),
        "zarr": list(zip(store["image"][:], store["mask"][:], strict=True)),  # type: ignore[index]
        "ome-zarr": by_ome(sets / "ome-zarr"),
        "ome-zarr-0.4": by_ome(sets / "ome-zarr-0.4"),
        "coco": by_coco(sets / "coco"),
        "nnunet": by_nnunet(sets / "nnunet"),
        "ShardDataset": by_dataset(ShardDataset(sets / "webdataset", batch_size=4)),
        "ZarrDataset": by_dataset(ZarrDataset(sets / "zarr", batch_size=4)),
    }
    assert max(int(one.mask.max()) for one in rendered) > 1
    for name, pixels in found.items():
        assert len(pixels) == _COUNT, name
        for one, (image, mask) in zip(rendered, pixels, strict=True):
            assert np.array_equal(one.image, image), (name, one.index)
            assert np.array_equal(one.mask, mask), (name, one.index)


def test_tensorstore_and_xarray_read_the_store(sets: pathlib.Path, rendered: list[Sample]) -> None:
    """TensorStore and xarray read image and mask of any sample from the sharded arrays, dimensions named."""
    tensorstore = pytest.importorskip("tensorstore")
    xarray = pytest.importorskip("xarray")
    data = xarray.open_zarr(sets / "zarr", consolidated=True, chunks=None)
    assert data["mask"].dims == ("sample", "y", "x")
    assert data["index"].values.tolist() == list(range(_START, _START + _COUNT))
    for name in ("image", "mask"):
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(sets / "zarr" / name)}}
        array = tensorstore.open(spec).result()
        for row in (8, 0, 5):
            expected = getattr(rendered[row], name)
            assert (array[row].read().result() == expected).all()
            assert (data[name][row].values == expected).all()


def test_tar_gunzip_and_pillow_by_hand(sets: pathlib.Path, rendered: list[Sample], tmp_path: pathlib.Path) -> None:
    """A shard comes apart with tar, its fields open with Pillow, gunzip and numpy, and a text editor."""
    subprocess.run(["tar", "xf", sets / "webdataset" / "000001.tar"], cwd=tmp_path, check=True)  # noqa: S607 as a user
    for one in rendered[4:8]:
        key = tmp_path / f"{one.index:016d}"
        assert (np.asarray(Image.open(f"{key}.image.png")) == one.image).all()
        subprocess.run(["gunzip", f"{key}.mask.npy.gz"], check=True)  # noqa: S607 as a user
        assert (np.load(f"{key}.mask.npy", allow_pickle=False) == one.mask).all()
        assert json.loads(key.with_name(f"{key.name}.meta.json").read_bytes()) == one.meta


def test_coco_tells_what_is_known(sets: pathlib.Path, rendered: list[Sample]) -> None:
    """Areas, boxes, diameters and hidden fractions of the annotations are those of mask and metadata."""
    coco = COCO(str(sets / "coco" / "annotations.json"))
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["particle"]
    assert sorted(coco.getImgIds()) == [one.index for one in rendered]
    for one in rendered:
        particles = one.meta["particles"]
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[one.index]))
        assert [annotation["label"] for annotation in annotations] == particles["label"]
        for row, annotation in enumerate(annotations):
            own = one.mask == annotation["label"]
            rows, columns = np.nonzero(own)
            x, y = columns.min(), rows.min()
            assert annotation["area"] == own.sum() == particles["visible_px"][row]
            assert annotation["bbox"] == [x, y, columns.max() + 1 - x, rows.max() + 1 - y]
            assert annotation["diameter_nm"] == particles["diameter_nm"][row]
            assert annotation["hidden_fraction"] == particles["hidden_fraction"][row]


@pytest.mark.parametrize("labels", [[], [1], [40_000, 7], list(range(1, 400))])
def test_coco_masks_of_any_labels(labels: list[int]) -> None:
    """Run lengths keep scattered pixels of any labels, none and more than 255 of them too."""
    import pycocotools.mask

    rng = np.random.default_rng(len(labels))
    mask = rng.choice(np.array([0, *labels], np.uint16), (37, 41))
    meta = {"index": 2, "particles": {}}
    encoded = encode_coco(Sample(seed=0, index=2, image=np.zeros((37, 41), np.uint8), mask=mask, meta=meta))
    lines = [json.loads(line.rstrip(b",")) for line in encoded["annotations"].splitlines()]
    again = np.zeros_like(mask)
    for annotation in lines:
        again[pycocotools.mask.decode(annotation["segmentation"]).astype(bool)] = annotation["label"]
    assert np.array_equal(again, mask)


def test_nnunet_folder_says_what_it_is(sets: pathlib.Path, recipe: Recipe) -> None:
    """dataset.json has what nnU-Net asks for, and the instances carry the pixel size for Fiji."""
    described = json.loads((sets / "nnunet" / "dataset.json").read_bytes())
    assert described["channel_names"] == {"0": "microscope"}
    assert described["labels"] == {"background": 0, "particle": 1}
    assert (described["numTraining"], described["file_ending"]) == (_COUNT, ".png")
    names = [sorted(path.name for path in (sets / "nnunet" / part).iterdir()) for part in ("imagesTr", "labelsTr")]
    assert names[0] == [name.replace(".png", "_0000.png") for name in names[1]]
    with tifffile.TiffFile(next((sets / "nnunet" / "instancesTr").iterdir())) as tiff:
        page: Any = tiff.pages[0]
        across, over = page.tags["XResolution"].value
        assert over / across == pytest.approx(recipe.picture.pixel_nm, rel=1e-4)
        assert tiff.imagej_metadata is not None
        assert tiff.imagej_metadata["unit"] == "nm"


def test_mask_field_is_plain_gzip_of_npy(sets: pathlib.Path, rendered: list[Sample]) -> None:
    """A batch of torch made by hand from a shard's own bytes equals ShardDataset's."""
    wds = pytest.importorskip("webdataset")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        record = next(iter(wds.WebDataset(str(sets / "webdataset" / "000000.tar"), shardshuffle=False)))
    mask = np.load(io.BytesIO(gzip.decompress(record["mask.npy.gz"])), allow_pickle=False)
    batch = next(iter(ShardDataset(sets / "webdataset", batch_size=1)))
    assert torch.equal(torch.from_numpy(mask.astype(np.int32)), batch["mask"][0])
    assert (mask == rendered[0].mask).all()
