"""The images and what Compose starts from them, as far as that can be said without a Docker engine."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from nanostream.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMPILERS = re.compile(r"\b(gcc|g\+\+|clang|cc1|make|cmake|build-essential|python3?-dev|apt-get|git)\b")


@dataclasses.dataclass(frozen=True)
class Step:
    """One instruction of the Dockerfile: its word, and the rest on one line."""

    word: str
    rest: str


@pytest.fixture(scope="module")
def stages(repository: pathlib.Path) -> dict[str, list[Step]]:
    """Instructions of the Dockerfile by stage, each with those of the stages that it builds on before it."""
    text = (repository / "deploy" / "docker" / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    found: dict[str, list[Step]] = {}
    current: list[Step] = []
    for line in joined:
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            base, _, name = rest.split()
            current = found[name] = list(found.get(base, [Step("FROM", base)]))
        else:
            current.append(Step(word, rest))
    return found


@pytest.fixture(scope="module")
def compose(repository: pathlib.Path) -> dict[str, Any]:
    """What compose.yaml describes, its merges done."""
    return yaml.safe_load((repository / "deploy" / "compose.yaml").read_text(encoding="utf-8"))


def rests(steps: list[Step], word: str) -> list[str]:
    return [step.rest for step in steps if step.word == word]


def test_hadolint_accepts_the_dockerfile(repository: pathlib.Path) -> None:
    """Hadolint has nothing to say."""
    tool = shutil.which("hadolint", path=f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}")
    if tool is None:
        pytest.skip("hadolint is not installed: pip install -e .[test]")
    done = subprocess.run(
        [tool, str(repository / "deploy" / "docker" / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_last_stages_hold_the_environment_and_no_compiler(target: str, stages: dict[str, list[Step]]) -> None:
    """Both targets begin at a slim Python, install nothing, copy one built environment, and run as nobody special."""
    steps = stages[target]
    assert steps[0] == Step("FROM", "python:${PYTHON}")
    assert not [rest for rest in rests(steps, "RUN") if _COMPILERS.search(rest) or "pip" in rest]
    assert rests(steps, "COPY") == [f"--from=build-{target} /opt/nanostream /opt/nanostream"]
    assert rests(steps, "USER")[-1] == "10001:10001"
    (check,) = rests(steps, "HEALTHCHECK")
    assert "/healthz" in check
    command = json.loads(rests(steps, "CMD")[-1])
    assert app.parse(command[1:])


def test_a_cpu_image_is_the_default_and_gpus_are_for_the_other(stages: dict[str, list[Step]]) -> None:
    """The last stage is the CPU one; only the CUDA one asks for a driver, and for what tracing needs."""
    assert list(stages)[-1] == "cpu"
    asked = [" ".join(rests(stages[target], "ENV")) for target in ("cpu", "cuda")]
    assert ["graphics" in text for text in asked] == [False, True]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_install_steps_give_a_working_environment(
    stages: dict[str, list[Step]], repository: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """The CPU image's steps, run as a script on what COPY brings, give commands, a renderer, Ray and a gateway."""
    source, target = tmp_path / "src", tmp_path / "environment"
    source.mkdir()
    for rest in rests(stages["build-cpu"], "COPY"):
        *names, _ = rest.split()
        for name in names:
            if (repository / name).is_dir():
                shutil.copytree(repository / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(repository / name, source)
    script = "\n".join(["set -eu", *rests(stages["build-cpu"], "RUN")])
    # The pinned PyTorch comes from wherever this machine takes its packages.
    script = script.replace("/opt/nanostream", str(target)).replace('--extra-index-url "${TORCH_INDEX}"', "")
    path = os.pathsep.join([str(pathlib.Path(sys.executable).resolve().parent), os.environ["PATH"]])
    clean = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    run(["bash", "-c", script], cwd=source, env={**clean, "PATH": path})
    shutil.rmtree(source)
    bin_path = f"{target / 'bin'}{os.pathsep}/usr/bin:/bin"
    for command in (
        "nanostream preview tio2-sem -n 1 --set picture.height=64 --set picture.width=64 -o sheet.png",
        "ray --version",
        "python -c 'import ray.dashboard.modules.job.job_head, uvicorn, starlette, nanostream.gateway'",
    ):
        run(["bash", "-c", command], cwd=tmp_path, env={"PATH": bin_path, "HOME": str(tmp_path)})
    assert (tmp_path / "sheet.png").exists()


def run(command: list[str], *, cwd: pathlib.Path, env: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_the_build_context_is_what_the_dockerfile_copies(
    stages: dict[str, list[Step]], repository: pathlib.Path
) -> None:
    """The ignore file lets through exactly what COPY asks for."""
    asked = {name for rest in rests(stages["build-cpu"], "COPY") for name in rest.split()[:-1]}
    lines = (repository / "deploy" / "docker" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == asked
    assert all((repository / name).exists() for name in asked)


def with_defaults(text: str) -> str:
    """A text with its variables' defaults in their place, as Compose has it where none is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_compose_fits_its_specification(repository: pathlib.Path) -> None:
    """A parser of the Compose specification takes the file, and every network, volume and secret is declared."""
    library = pytest.importorskip("compose_spec", reason="pip install -e .[test]")
    text = (repository / "deploy" / "compose.yaml").read_text(encoding="utf-8")
    # This parser wants an address where Compose takes the word for the machine's own.
    text = with_defaults(text).replace(":host-gateway", ":172.17.0.1")
    library.PyOptions(apply_merge=True).from_yaml(text).validate()


def test_compose_starts_everything_in_order(compose: dict[str, Any]) -> None:
    """One command brings up head, workers, gateway, Prometheus and Grafana, each healthy before the next begins."""
    services = compose["services"]
    assert set(services) == {"head", "worker", "gateway", "prometheus", "grafana"}
    assert services["worker"]["depends_on"] == {"head": {"condition": "service_healthy"}}
    assert services["gateway"]["depends_on"] == {"worker": {"condition": "service_healthy"}}
    for name in ("head", "worker", "prometheus"):
        assert services[name]["healthcheck"]["test"][0] == "CMD"
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["mem_limit"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
    assert "--num-cpus=0" in services["head"]["command"]


def test_compose_mounts_files_that_are_there(compose: dict[str, Any], repository: pathlib.Path) -> None:
    """Files that are mounted exist, and where configurations name each other's paths they agree."""
    folder = repository / "deploy"
    for service in compose["services"].values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert source in compose["volumes"] or (folder / source).exists(), mount
    scrape = yaml.safe_load((folder / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    assert scrape[0]["file_sd_configs"][0]["files"] == ["/ray/prom_metrics_service_discovery.json"]
    assert "ray:/ray:ro" in compose["services"]["prometheus"]["volumes"]
    assert "ray:/tmp/ray" in compose["services"]["head"]["volumes"]
    assert scrape[1]["authorization"]["credentials_file"] == "/run/secrets/gateway_token"
    provider = yaml.safe_load((folder / "grafana/provisioning/dashboards/nanostream.yaml").read_text(encoding="utf-8"))
    boards = provider["providers"][0]["options"]["path"]
    assert f"./grafana/nanostream.json:{boards}/nanostream.json:ro" in compose["services"]["grafana"]["volumes"]


def test_compose_writes_no_secret(compose: dict[str, Any]) -> None:
    """Tokens come from files that are not in the repository, and no variable holds one."""
    assert all("file" in secret for secret in compose["secrets"].values())
    for service in compose["services"].values():
        for name in service.get("environment", {}):
            assert not re.search(r"(TOKEN|PASSWORD)$", name), name


def commands(compose: dict[str, Any]) -> Iterator[str]:
    for service in compose["services"].values():
        text = service.get("command", "")
        text = text if isinstance(text, str) else " ".join(text)
        yield from re.findall(r"(nanostream serve .+)", with_defaults(text.replace("\\\n", " ")))


def test_compose_commands_parse(compose: dict[str, Any]) -> None:
    """The gateway's command has the options that it is given."""
    found = list(commands(compose))
    assert found
    for command in found:
        assert app.parse(shlex.split(command)[1:])
