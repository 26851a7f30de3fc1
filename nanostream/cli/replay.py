"""`nanostream replay`: the sample of a receipt, again."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Annotated

import tyro

from nanostream.cli.options import Out, load_recipe

__all__ = ["Replay"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replay:
    """Render the sample of a receipt again."""

    receipt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECEIPT")]
    """The text that a batch carries with receipts=True: ns1:<recipe>:<build>:<seed>:<index>."""

    out: Out
    """PNG file to write: the image beside its mask; or a folder (no suffix) for its fields as files."""

    recipe: Annotated[tuple[pathlib.Path, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="JSON")] = ()
    """Recipe file to look in beside the presets; may come repeatedly."""

    strict: bool = False
    """Refuse where other library versions or another backend would render than did then."""

    def run(self) -> None:
        """Look the recipe up, render and write."""
        from nanostream.receipt import Receipt, replay

        receipt = Receipt.parse(self.receipt)
        sample = replay(receipt, recipes=[load_recipe(str(path)) for path in self.recipe], strict=self.strict)
        if self.out.suffix:
            import numpy as np

            from nanostream.sheet import grey, overlay, save_sheet, sheet

            mask = overlay(np.zeros_like(sample.image), sample.mask, strength=0.7)
            save_sheet(self.out, sheet([[grey(sample.image), mask]], titles=["image", "mask"]))
        else:
            from nanostream.formats.codec import encode
            from nanostream.formats.disk import whole_folder

            with whole_folder(self.out) as folder:
                for name, content in encode(sample).items():
                    (folder / name).write_bytes(content)
        print(
            f"Rendered sample {receipt.index} of seed {receipt.seed} again, SHA-256 {sample.digest()}, to {self.out}."
        )
