"""nnU-Net's raw data layout, as plain pictures that any viewer opens.

folder/                               name it Dataset123_Particles below nnUNet_raw
imagesTr/0000000000000017_0000.png  8-bit grey; _0000 is the first and only channel
labelsTr/0000000000000017.png       0 background, 1 particle: what nnU-Net trains on
instancesTr/0000000000000017.tif    16-bit labels of the instances, with the pixel size; nnU-Net
does not look there
dataset.json                        channels, classes, number of cases, ending
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import tifffile

from nanostream.formats.codec import dump_json
from nanostream.formats.png import encode_png
from nanostream.formats.sink import Sink, names_of

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable

    from nanostream.formats.encoded import Encoded
    from nanostream.formats.files import Files
    from nanostream.sample import Sample

__all__ = ["NnunetSink", "encode"]


def encode(sample: Sample) -> dict[str, bytes]:
    """The three files of one case."""
    pixel_nm = sample.meta.get("pixel_nm")
    instances = io.BytesIO()
    # ImageJ's own fields, so that Fiji shows lengths; the time is left out, for equal bytes.
    known: dict[str, Any] = {}
    if isinstance(pixel_nm, int | float) and pixel_nm > 0:
        known = {"resolution": (1 / pixel_nm, 1 / pixel_nm), "metadata": {"unit": "nm", "axes": "YX"}}
    tifffile.imwrite(instances, sample.mask, imagej=True, software="nanostream", **known)
    return {
        "imagesTr/{}_0000.png": encode_png(sample.image),
        "labelsTr/{}.png": encode_png((sample.mask > 0).astype(np.uint8)),
        "instancesTr/{}.tif": instances.getvalue(),
    }


@final
class NnunetSink(Sink):
    """A growing folder of cases; a part is a run of cases."""

    kind: ClassVar[str] = "nnunet"
    ours: ClassVar[re.Pattern[str]] = names_of("imagesTr", "labelsTr", "instancesTr", r"dataset\.json")

    def _put(self, number: int, samples: Iterable[Encoded], files: Files) -> dict[str, Any]:
        del number
        for sample in samples:
            for name, data in sample.fields.items():
                files.put(name.format(f"{sample.index:016d}"), data)
        return {}

    def _close(self, files: Files) -> None:
        described = {
            "channel_names": {"0": "microscope"},
            "labels": {"background": 0, "particle": 1},
            "numTraining": self.provenance.count,
            "file_ending": ".png",
            "nanostream": self.description(),
        }
        files.put("dataset.json", dump_json(described))
