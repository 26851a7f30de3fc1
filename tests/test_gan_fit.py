"""A fit's run: what it learns, that it goes on after a kill, undoes a collapse, keeps the best and stops."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from nanostream.errors import PictureError, TextureError
from nanostream.gan.check import Check
from nanostream.gan.effect_network import PRIOR_SD, EffectNetwork
from nanostream.gan.fit import Fit, FitConfig
from nanostream.gan.learned_fit import LearnedMethod
from nanostream.gan.particle_sizes import estimate_sizes
from nanostream.gan.patches import RealPatches, covered
from nanostream.gan.run import fit_texture, set_aside
from nanostream.gan.trainer import Losses, TrainerConfig
from nanostream.recipe import Picture, Recipe
from nanostream.render.camera import Camera
from nanostream.render.detector import Detector
from nanostream.scene.config import SceneConfig
from nanostream.seeding import Purpose, generator
from nanostream.synth import ParticlePictures, Synth
from nanostream.texture.effects import EFFECTS
from nanostream.texture.latent import LatentMap
from nanostream.texture.learned import LearnedLook
from nanostream.texture.learned_file import load_learned

if TYPE_CHECKING:
    import pathlib

    import numpy.typing as npt

PIXEL_NM = 16.0
SCENE = SceneConfig.model_validate({"placement": {"kind": "agglomerates", "coverage": [0.1, 0.3]}})
SMALL = TrainerConfig(patch_px=48, batch=2, filters=8, hidden=4, latents=4)


def constant_map(**values: float) -> LatentMap:
    """A map that gives the same effects whatever the latent; those not named are where a fit starts."""
    wanted = {name: values.get(name, effect.start) for name, effect in EFFECTS.items()}
    shares = [
        np.log(wanted[name] / e.low) / np.log(e.high / e.low) if e.log else (wanted[name] - e.low) / (e.high - e.low)
        for name, e in EFFECTS.items()
    ]
    K, zeros = len(EFFECTS), np.zeros
    return LatentMap(
        effects=EFFECTS,
        bias=np.log(np.array(shares) / (1 - np.array(shares))).astype(np.float32),
        linear=zeros((K, 1), np.float32),
        out=zeros((K, 1), np.float32),
        hidden=zeros((1, 1), np.float32),
        shift=zeros(1, np.float32),
    )


def pictures_of(latent: LatentMap, count: int, *, edge: int = 96) -> list[npt.NDArray[np.float32]]:
    """Pictures of SCENE that a fit has never seen the numbers of."""
    Synth(Recipe.preset("tio2-sem"))  # starts the renderer
    picture = Picture(height=edge, width=edge, pixel_nm=PIXEL_NM)
    made = ParticlePictures(SCENE, LearnedLook(latent), picture, camera=Camera(), detector=Detector())
    return [made.draw(seed=99, index=index)[0].astype(np.float32) / np.float32(255) for index in range(count)]


class FakeTrainer:
    """Counts its steps; what it has learned is the number of steps, and `spoil` makes it no number."""

    def __init__(self) -> None:
        self.steps, self.rate, self.learned, self.spoil = 0, 1.0, 0.0, -1

    def step(self) -> Losses:
        """One more."""
        self.steps += 1
        self.learned = float("nan") if self.steps == self.spoil else self.learned + 1
        return Losses(self.learned, 0.0, 0.0)

    def texture(self) -> float:
        """What is checked."""
        return self.learned

    def slow_down(self, factor: float) -> None:
        """Remember it."""
        self.rate *= factor

    def state(self) -> dict[str, Any]:
        """All."""
        return {"steps": self.steps, "learned": self.learned}

    def load(self, state: dict[str, Any]) -> None:
        """Back."""
        self.steps, self.learned = state["steps"], state["learned"]


def fake_fit(trainer: FakeTrainer, scores: dict[int, float], folder: pathlib.Path, **config: Any) -> Fit:
    def checker(_: float, *, step: int) -> Check:
        return Check(step=step, score=scores.get(step, 1.0), measures={})

    chosen = FitConfig(**{"check_steps": 10, "most_steps": 100, **config})
    return Fit(trainer, checker, chosen, file=folder / "fit.run", identity="one")


def test_the_best_weights_are_kept(tmp_path: pathlib.Path) -> None:
    """A fit ends with the weights whose check was best, not with the last ones."""
    trainer = FakeTrainer()
    fit = fake_fit(trainer, {0: 3.0, 30: 0.5}, tmp_path)
    assert fit.run() == "100 steps were taken"
    assert (fit.best.step, trainer.learned) == (30, 30.0)


def test_it_stops_when_nothing_improves(tmp_path: pathlib.Path) -> None:
    """A fit that finds nothing better in `patience` checks stops."""
    fit = fake_fit(FakeTrainer(), {10: 0.5}, tmp_path, patience=3)
    assert "nothing improved" in fit.run()
    assert fit.progress.steps == 10
    assert fit.checks[-1].step == 40


@pytest.mark.parametrize("spoiled", ["loss", "score"])
def test_a_collapse_is_undone(tmp_path: pathlib.Path, spoiled: str) -> None:
    """Losses that are no numbers, and a score far over the best, take the fit back to its best, at lower rates."""
    trainer = FakeTrainer()
    trainer.spoil = 40 if spoiled == "loss" else -1
    fit = fake_fit(trainer, {20: 0.5, 40: 9.0 if spoiled == "score" else 1.0, 80: 0.4}, tmp_path)
    fit.run()
    assert fit.progress.collapses == 1
    assert trainer.rate == 0.5
    # Behind step 40 it learned on from what it had at 20.
    assert (fit.best.step, trainer.learned) == (80, 60.0)


def test_it_gives_up_when_it_collapses_again_and_again(tmp_path: pathlib.Path) -> None:
    """A fit that cannot settle ends in an error that says so."""
    scores = dict.fromkeys(range(10, 101, 10), 99.0) | {0: 1.0}
    with pytest.raises(TextureError, match="collapsed 3 times"):
        fake_fit(FakeTrainer(), scores, tmp_path, most_collapses=2).run()


def test_another_run_is_refused(tmp_path: pathlib.Path) -> None:
    """A run's file of other pictures or settings, or of no run at all, is an error, not a start."""
    fit = fake_fit(FakeTrainer(), {}, tmp_path)
    fit.run()
    other = Fit(FakeTrainer(), lambda *_, **__: None, FitConfig(), file=tmp_path / "fit.run", identity="two")
    with pytest.raises(TextureError, match="same pictures"):
        other.resume()
    (tmp_path / "fit.run").write_bytes(b"no run")
    with pytest.raises(TextureError, match="cannot be read"):
        other.resume()


@pytest.mark.slow
def test_a_killed_fit_goes_on_to_the_same_weights(tmp_path: pathlib.Path) -> None:
    """A fit that is killed by force and started again writes the texture that one in peace writes."""
    script = textwrap.dedent("""
        import pathlib, sys
        import numpy as np
        from nanostream.gan.fit import FitConfig
        from nanostream.gan.learned_fit import LearnedMethod
        from nanostream.gan.run import fit_texture
        from nanostream.gan.trainer import TrainerConfig
        from nanostream.scene.config import SceneConfig
        scene = SceneConfig.model_validate({"placement": {"kind": "agglomerates", "coverage": [0.1, 0.3]}})
        config = TrainerConfig(patch_px=48, batch=2, filters=8, hidden=4, latents=4)
        method = LearnedMethod(scene=scene, pixel_nm=16.0, config=config)
        fit_texture(
            list(np.load(sys.argv[1])), method, FitConfig(check_steps=4, most_steps=12), out=pathlib.Path(sys.argv[2]),
            on_progress=lambda progress: print(progress.steps, flush=True),
        )
    """)
    np.save(tmp_path / "pictures.npy", np.stack(pictures_of(constant_map(), 8)))
    command = [sys.executable, "-c", script, str(tmp_path / "pictures.npy")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(name: str) -> subprocess.Popen[str]:
        return subprocess.Popen([*command, str(tmp_path / name)], stdout=subprocess.PIPE, text=True, env=environment)

    killed = start("killed")
    assert killed.stdout is not None
    for line in killed.stdout:
        # Behind the second check and before the third.
        if int(line) == 6:
            killed.send_signal(signal.SIGKILL)
            break
    killed.stdout.close()
    assert killed.wait(timeout=60) == -signal.SIGKILL
    assert (tmp_path / "killed.run").exists()
    for name in ("killed", "whole"):
        with start(name) as again:
            output, _ = again.communicate(timeout=300)
            assert again.returncode == 0
            steps = [int(line) for line in output.split()]
        assert steps[0] == (5 if name == "killed" else 1)
    assert not (tmp_path / "killed.run").exists()
    one, other = (load_learned(tmp_path / f"{name}.safetensors").latent for name in ("killed", "whole"))
    for name in ("bias", "linear", "out", "hidden", "shift"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.slow
# Where something else keeps one of two cores busy it took ten minutes.
@pytest.mark.timeout(1500)
def test_a_fit_finds_what_the_pictures_show(tmp_path: pathlib.Path) -> None:
    """From pictures of a brighter ground, darker particles and another blur, those are found; the card tells it all."""
    wanted = {"ground": 0.6, "base_color": 0.8, "blur_px": 1.4, "read_noise": 0.02}
    pictures = pictures_of(constant_map(**wanted), 10)
    config = dataclasses.replace(SMALL, rate=2e-2, batch=4)
    method = LearnedMethod(scene=SCENE, pixel_nm=PIXEL_NM, config=config)
    fitted = fit_texture(pictures, method, FitConfig(check_steps=40, most_steps=160), out=tmp_path / "texture")
    loaded = load_learned(fitted.texture)
    assert fitted.best.score < 0.6 * fitted.checks[0].score
    values = loaded.latent.values(np.random.default_rng(0).standard_normal((400, SMALL.latents)))
    # Base colours and the detector's gain mean the same to a picture: what it shows is their product.
    ground = np.median((values["ground"] * values["gain"]) ** values["gamma"] + values["offset"])
    start = {name: effect.start for name, effect in EFFECTS.items()}
    shown = wanted["ground"] ** start["gamma"] * start["gain"] + start["offset"]
    assert ground == pytest.approx(shown, rel=0.15)
    assert np.median(values["blur_px"]) > 0.9
    # And so do the two kinds of noise, on the ground.
    noise = np.median(np.sqrt(values["shot_noise"] * ground + values["read_noise"] ** 2))
    assert noise == pytest.approx(np.hypot(wanted["read_noise"], np.sqrt(start["shot_noise"] * ground)), rel=0.25)

    card = loaded.card
    assert card["pictures"]["fitted"] + card["pictures"]["aside"] == len(pictures)
    assert card["steps"] == fitted.best.step
    assert set(card["measures"]) == {"grey", "spectrum", "edges", "noise", "patches"}
    sample = Synth(Recipe.load(fitted.recipe)).render(seed=0, index=0)
    assert sample.image.shape == (256, 256)
    assert sample.mask.max() > 0


def test_effects_that_nothing_is_known_of_vary_about_what_is_usual() -> None:
    """Without pictures each effect goes to its own `start`, with a spread that is the same for all."""
    network = EffectNetwork(EFFECTS, latents=4, hidden=4, random=torch.Generator().manual_seed(0))
    z = torch.randn(1024, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        network.bias += 1.0
    before = network.surprise(z).item()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        network.surprise(z).backward()
        optimizer.step()
    assert before > 10
    assert 0 <= network.surprise(z).item() < 0.05
    logits = network.logits(z).detach()
    np.testing.assert_allclose(logits.std(0).numpy(), PRIOR_SD, rtol=0.05)
    middle = dict(zip(EFFECTS, logits.mean(0), strict=True))
    for name, effect in EFFECTS.items():
        share = 1 / (1 + math.exp(-float(middle[name])))
        value = effect.low + (effect.high - effect.low) * share
        if effect.log:
            value = effect.low * (effect.high / effect.low) ** share
        assert value == pytest.approx(effect.start, rel=0.02, abs=0.01 * effect.high)


def test_learned_recipes_move_with_their_texture(tmp_path: pathlib.Path) -> None:
    """A recipe and its texture in another folder have the same hash and the same samples; another texture has not."""
    Synth(Recipe.preset("tio2-sem"))
    method = LearnedMethod(scene=SCENE, pixel_nm=PIXEL_NM, config=SMALL)
    from nanostream.gan.learned_fit import write_recipe

    found = []
    for folder, ground in (("one", 0.1), ("two", 0.1), ("three", 0.2)):
        place = tmp_path / folder
        place.mkdir()
        texture = place / "look.safetensors"
        recipe = method.save(constant_map(ground=ground), {"about": "made for a test"}, texture)
        write_recipe(recipe, place / "look.json", texture=texture)
        found.append(Recipe.load(place / "look.json").replaced("picture.height=64", "picture.width=64"))
    assert found[0].hash == found[1].hash != found[2].hash
    images = [Synth(recipe).render(seed=3, index=5).image for recipe in found]
    np.testing.assert_array_equal(images[0], images[1])
    assert images[2].mean() > images[0].mean() + 5
    still = found[0].replaced('texture.fixed={"read_noise": 0.05}')
    assert still.hash != found[0].hash
    assert Synth(still).render(seed=3, index=5).image.std() > images[0].std()


def test_pictures_that_cannot_be_learned_from() -> None:
    """No picture, pictures smaller than a patch, and one that leaves nothing to choose by are errors in a sentence."""
    with pytest.raises(PictureError, match="got none"):
        set_aside([], patch_px=64)
    with pytest.raises(PictureError, match="at least 64 pixels"):
        set_aside([np.zeros((200, 60), np.float32)], patch_px=64)
    with pytest.raises(PictureError, match="add pictures"):
        set_aside([np.zeros((200, 80), np.float32)], patch_px=64)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_pictures_set_aside_are_not_learned_from(count: int) -> None:
    """What chooses the checkpoint shares no pixel with what is learned from, and both hold something."""
    numbers = np.arange(count * 300 * 200, dtype=np.float64).reshape(count, 300, 200)
    fitted, aside = set_aside(list(numbers), patch_px=64)
    assert len(aside) >= 2
    assert not set(np.concatenate([p.ravel() for p in fitted])) & set(np.concatenate([p.ravel() for p in aside]))
    assert min(min(picture.shape) for picture in (*fitted, *aside)) >= 64


def test_patches_are_as_crowded_as_wanted() -> None:
    """Real patches are found whose particles cover about as much as asked for, each once."""
    rng = np.random.default_rng(0)
    picture = np.full((300, 300), 0.1, np.float32)
    picture[:, 150:] = 0.8
    assert covered(picture).mean() == pytest.approx(0.5, abs=0.01)
    patches = RealPatches([picture], patch_px=32, count=200, rng=rng)
    wanted = np.array([0.0, 1.0, 0.0, 1.0])
    which = patches.like(wanted, rng)
    assert len(set(which)) == len(which)
    np.testing.assert_allclose(patches.crowded[which], wanted, atol=0.05)
    assert patches.flipped(which, rng).shape == (4, 32, 32)


def test_sizes_are_estimated_from_rendered_pictures() -> None:
    """Of separate rendered spheres, the median diameter is found to 10 % and the covered share to 0.03."""
    scene = SceneConfig.model_validate(
        {
            "sizes": {"kind": "lognormal", "median_nm": 240, "sigma": 0.2},
            "shape": {"kind": "sphere"},
            "placement": {"kind": "scattered", "coverage": [0.1, 0.1]},
        }
    )
    Synth(Recipe.preset("tio2-sem"))
    picture = Picture(height=256, width=256, pixel_nm=PIXEL_NM)
    made = ParticlePictures(scene, LearnedLook(constant_map()), picture, camera=Camera(), detector=Detector())
    drawn = [made.draw(seed=5, index=index) for index in range(4)]
    found = estimate_sizes([image.astype(np.float32) / np.float32(255) for image, _, _ in drawn])
    assert found.median_px * PIXEL_NM == pytest.approx(240, rel=0.1)
    assert found.coverage.mean() == pytest.approx(np.mean([(mask > 0).mean() for _, mask, _ in drawn]), abs=0.03)


def test_a_step_depends_on_its_number_alone() -> None:
    """A trainer that loads another's state takes the same next step."""
    pictures = pictures_of(constant_map(), 3)
    method = LearnedMethod(scene=SCENE, pixel_nm=PIXEL_NM, config=dataclasses.replace(SMALL, patch_px=32))

    def trainer() -> Any:
        real = RealPatches(pictures, patch_px=32, count=40, rng=generator(0, 0, Purpose.TEXTURE))
        return method.trainer(real)

    one, other = trainer(), trainer()
    one.step()
    other.load(one.state())
    assert one.step() == other.step()
    np.testing.assert_array_equal(one.texture().bias, other.texture().bias)


def test_a_fit_ends_by_the_clock(tmp_path: pathlib.Path) -> None:
    """Seconds are counted while steps are taken, and end a fit when its minutes are over."""

    class Slow(FakeTrainer):
        def step(self) -> Losses:
            """One more, in ten milliseconds."""
            time.sleep(0.01)
            return super().step()

    fit = fake_fit(Slow(), {}, tmp_path, minutes=0.001, most_steps=None)
    assert "minutes were over" in fit.run()
