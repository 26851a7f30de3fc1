"""COCO: pictures, and one JSON file with an annotation a particle, masks as run lengths.

    folder/
      images/0000000000000017.png
      annotations.json             images, annotations, categories

An image's id is its sample's index, an annotation's is image id * 65536 + label, so ids do not depend
on who writes what first. Besides COCO's own fields an annotation tells what is known of the particle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from nanostream.formats.codec import dump_json
from nanostream.formats.png import encode_png
from nanostream.formats.sink import Sink, names_of

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    from nanostream.formats.encoded import Encoded
    from nanostream.formats.files import Files
    from nanostream.sample import Sample

__all__ = ["CocoSink", "encode"]

_LABELS = 65_536
_CATEGORY = 1
_PROPERTIES = ("diameter_nm", "length_nm", "hidden_fraction", "cut")


def encode(sample: Sample) -> dict[str, bytes]:
    """The picture, its entry among the images, and its annotations, each followed by a comma."""
    height, width = sample.image.shape
    image = {
        "id": sample.index,
        "file_name": _file_name(sample.index),
        "height": height,
        "width": width,
        "pixel_nm": sample.meta.get("pixel_nm"),
    }
    annotations = [dump_json(annotation) + b",\n" for annotation in _annotations(sample)]
    return {"png": encode_png(sample.image), "image": dump_json(image) + b",\n", "annotations": b"".join(annotations)}


@final
class CocoSink(Sink):
    """A growing set; a part is a run of pictures, whose JSON waits for the others'."""

    kind: ClassVar[str] = "coco"
    ours: ClassVar[re.Pattern[str]] = names_of("images", r"annotations\.json")

    def _put(self, number: int, samples: Iterable[Encoded], files: Files) -> dict[str, Any]:
        waiting: dict[str, list[bytes]] = {"image": [], "annotations": []}
        for sample in samples:
            files.put(f"images/{_file_name(sample.index)}", sample.fields["png"])
            for name, some in waiting.items():
                some.append(sample.fields[name])
        for name, some in waiting.items():
            self.folder.put(self.waiting_name(number, name), b"".join(some))
        return {}

    def _close(self, files: Files) -> None:
        info = {"description": "rendered by nanostream", "nanostream": self.description()}
        categories = [{"id": _CATEGORY, "name": "particle", "supercategory": "particle"}]
        with files.open("annotations.json") as write:
            write(b'{"info":' + dump_json(info) + b',\n"categories":' + dump_json(categories))
            for key, name in ((b"images", "image"), (b"annotations", "annotations")):
                write(b',\n"' + key + b'":[\n')
                last = b""
                for number in range(self.parts):
                    # The comma behind the very last entry is left out, so each waits for the next.
                    if some := self.folder.read(self.waiting_name(number, name)):
                        write(last + some[:-2])
                        last = some[-2:]
                write(b"]")
            write(b"}\n")


def _annotations(sample: Sample) -> Iterator[dict[str, Any]]:
    import pycocotools.mask

    height, width = sample.mask.shape
    particles: dict[str, list[Any]] = sample.meta["particles"]
    known = {int(label): row for row, label in enumerate(particles.get("label", []))}
    labels, runs = _runs(sample.mask)
    if not labels:
        return
    # Its types leave out lists of run lengths, which it takes.
    unpacked: Any = [{"size": [height, width], "counts": run} for run in runs]
    packed: Any = pycocotools.mask.frPyObjects(unpacked, height, width)
    boxes = pycocotools.mask.toBbox(packed)
    for label, run, rle, box in zip(labels, runs, packed, boxes, strict=True):
        row = known.get(label)
        more = {} if row is None else {name: particles[name][row] for name in _PROPERTIES if name in particles}
        yield {
            "id": sample.index * _LABELS + label,
            "image_id": sample.index,
            "category_id": _CATEGORY,
            "segmentation": {"size": [height, width], "counts": rle["counts"].decode("ascii")},
            "area": sum(run[1::2]),
            "bbox": box.tolist(),
            "iscrowd": 0,
            "label": label,
            **more,
        }


def _runs(mask: npt.NDArray[np.uint16]) -> tuple[list[int], list[list[int]]]:
    """Labels above 0, and for each the lengths of its runs of 0 and 1, column by column, from a 0 on."""
    flat = mask.T.ravel()
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    values, ends = flat[starts], np.concatenate([starts[1:], [flat.size]])
    order = np.argsort(values, kind="stable")
    order = order[np.searchsorted(values[order], 1) :]
    labels, first = np.unique(values[order], return_index=True)
    runs = []
    for own in np.split(order, first[1:]) if labels.size else []:
        edges = np.concatenate([[0], np.stack([starts[own], ends[own]], axis=1).ravel(), [flat.size]])
        runs.append(np.diff(edges).tolist())
    return labels.tolist(), runs


def _file_name(index: int) -> str:
    return f"{index:016d}.png"
