"""`nanostream fit`: a texture learned from pictures that nobody annotated."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from nanostream.cli.options import Out, Seed
from nanostream.errors import PictureError, RecipeError, StoreError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nanostream.gan.run import Method
    from nanostream.scene.config import SceneConfig

__all__ = ["Fit"]

_ONE_SCALE = 1.02
"""Pixel sizes that differ by less are one."""
_LEARNED_PX, _PUBLISHED_PX = 128, 256
_REPORTED_PX = 128
"""Realism is not measured on smaller pictures."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """Learn, from pictures alone, how to render particles that look like them."""

    pictures: Annotated[pathlib.Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="PICTURES_DIR")] = None
    """Folder of pictures (PNG, TIFF, BMP) of one microscope and one sample."""

    out: Out = pathlib.Path("texture")
    """Name of the files to write: OUT.safetensors, OUT.json, OUT.html, and OUT.run while it lasts."""

    particles: Annotated[str | None, tyro.conf.arg(metavar="FILE.json|PRESET")] = None
    """Scene (sizes, shapes, placement) as JSON, or a recipe or preset that has one; without it, sizes and
    crowding are estimated from the pictures, and shapes are grains. For the published method, settings in its own
    form: a parameter below 0 there is learned, within the limits that stand there."""

    method: Literal["learned", "published"] = "learned"
    """`learned`: textures that differ over particles, surfaces and pictures. `published`: DiffRenderGAN's method."""

    minutes: float = 40.0
    """Time it may take, in minutes; it stops earlier if nothing improves."""

    pixel_nm: Annotated[float | None, tyro.conf.arg(metavar="NM")] = None
    """Edge of a pixel in nm; by default what the pictures or the particles' recipe say."""

    crop: Annotated[int | None, tyro.conf.arg(metavar="ROWS")] = None
    """Rows to keep of each picture; by default those above a footer, if there is one."""

    patch: Annotated[int | None, tyro.conf.arg(metavar="PX")] = None
    """Edge of the patches that are learned from, in pixels; 128 by default, 256 by the published method."""

    meshes: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the published meshes, with meshes.json in it or beside it, for the published method."""

    demo: bool = False
    """Fit to pictures that the package renders itself, to try the command without pictures."""

    seed: Seed = 0
    """Of everything random."""

    overwrite: bool = False
    """Replace files that exist; without it, a run that was stopped goes on, and others are refused."""

    def run(self) -> None:
        """Read, learn, write, report."""
        from nanostream.cli.fit_line import FitLine
        from nanostream.gan.fit import FitConfig
        from nanostream.gan.fit_report import report_fit
        from nanostream.gan.run import fit_texture

        self._refuse()
        pictures, method, notes = self._read()
        about = f"Fitted by the {self.method} method to {len(pictures)} pictures"
        about += " that nanostream rendered." if self.demo else f" in {self.pictures}."
        config = FitConfig(minutes=self.minutes)
        with FitLine(minutes=self.minutes) as line:
            fitted = fit_texture(pictures, method, config, out=self.out, about=about, on_progress=line)
        report = self.out.with_suffix(".html")
        told = ""
        if min(min(picture.shape) for picture in pictures) >= _REPORTED_PX:
            report_fit(fitted, pictures, report, notes=notes)
            told = f", its report {report}"
        print(
            f"Learned from {len(pictures)} pictures in {fitted.steps} steps and {fitted.seconds / 60:.1f} minutes "
            f"({fitted.ended}) and chose step {fitted.best.step}: the texture is {fitted.texture}, its recipe "
            f"{fitted.recipe}{told}; try `nanostream preview {fitted.recipe} -o sheet.png`."
        )

    def _refuse(self) -> None:
        if (self.pictures is None) != self.demo:
            msg = "expected a folder of pictures or --demo, got both" if self.demo else "expected a folder of pictures"
            raise PictureError(msg + ": name one of them")
        there = [path for path in (self.out.with_suffix(end) for end in (".safetensors", ".json")) if path.exists()]
        if there and not self.overwrite:
            msg = f"expected no file at {there[0]}, but there is one: choose another -o or pass --overwrite"
            raise StoreError(msg)
        if self.overwrite:
            self.out.with_suffix(".run").unlink(missing_ok=True)

    def _read(self) -> tuple[list[npt.NDArray[np.float32]], Method, list[str]]:
        """Pictures, what is learned from them, and what was done to them, a sentence each."""
        from nanostream.gan.prior import estimate_scene, read_particles

        notes: list[str] = []
        if self.demo:
            from nanostream.gan.demo import demo_pictures

            pictures, scene, pixel_nm = demo_pictures()
        else:
            pictures, pixel_nm = self._pictures(notes)
            scene = None
        for note in notes:
            print(note)
        if self.method == "published":
            return pictures, self._published(pixel_nm), notes
        if self.particles is not None:
            scene, told = read_particles(self.particles)
            pixel_nm = pixel_nm or told
        if pixel_nm is None:
            msg = "expected the edge of a pixel in the pictures, found none: give it with --pixel-nm"
            raise PictureError(msg)
        if scene is None:
            scene = estimate_scene(pictures, pixel_nm=pixel_nm)
            notes.append(f"Estimated from the pictures: {_described(scene)}; name better ones with --particles.")
            print(notes[-1])
        from nanostream.gan.learned_fit import LearnedMethod
        from nanostream.gan.trainer import TrainerConfig

        config = TrainerConfig(seed=self.seed, patch_px=self.patch or _LEARNED_PX)
        return pictures, LearnedMethod(scene=scene, pixel_nm=pixel_nm, config=config), notes

    def _pictures(self, notes: list[str]) -> tuple[list[npt.NDArray[np.float32]], float | None]:
        from nanostream.micrograph import read_micrographs

        assert self.pictures is not None
        micrographs = read_micrographs(self.pictures, crop=self.crop, pixel_nm=self.pixel_nm)
        counted = collections.Counter(note for micrograph in micrographs for note in micrograph.notes)
        notes += [f"{count} of {len(micrographs)} pictures: {note}." for note, count in counted.items()]
        pixel_nm = self.pixel_nm or _common({m.pixel_nm for m in micrographs if m.pixel_nm})
        return [micrograph.pixels for micrograph in micrographs], pixel_nm

    def _published(self, pixel_nm: float | None) -> Method:
        from nanostream.gan.published_fit import PublishedMethod, read_published_scene
        from nanostream.gan.published_trainer import PublishedConfig

        if self.particles is None or self.meshes is None:
            msg = "expected --particles SETTINGS.json, in the published form, and --meshes DIR with --method published"
            raise RecipeError(msg)
        scene, spec = read_published_scene(pathlib.Path(self.particles), self.meshes)
        config = PublishedConfig(seed=self.seed, patch_px=self.patch or _PUBLISHED_PX)
        return PublishedMethod(scene=scene, spec=spec, pixel_nm=pixel_nm or 1.0, config=config)


def _common(sizes: set[float]) -> float | None:
    if len(sizes) > 1 and max(sizes) > _ONE_SCALE * min(sizes):
        msg = f"expected pictures of one magnification, got pixels of {min(sizes):.4g} to {max(sizes):.4g} nm"
        raise PictureError(msg + ": fit each magnification on its own")
    return min(sizes, default=None)


def _described(scene: SceneConfig) -> str:
    from nanostream.scene.sizes import LognormalSizes

    assert isinstance(scene.sizes, LognormalSizes)
    coverage = getattr(scene.placement, "coverage", (0.0, 0.0))
    return (
        f"median diameter {scene.sizes.median_nm:.0f} nm, spread of its logarithm {scene.sizes.sigma:.2f}, "
        f"particles over {coverage[0]:.0%} to {coverage[1]:.0%} of a picture"
    )
