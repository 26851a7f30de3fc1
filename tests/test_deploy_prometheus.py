"""What watches a cluster: rules, scrape configuration and dashboard, and a real Prometheus over two Ray nodes."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from nanostream.telemetry import RAY_METRICS, metrics, serve_metrics
from nanostream.testing import FakeRecipe, FakeSynth

if TYPE_CHECKING:
    from collections.abc import Iterator

_METRIC = re.compile(r"\b((?:nanostream|ray|instance:|cause:)\w*(?::\w+)*)\b")


@pytest.fixture(scope="module")
def tools() -> Iterator[pathlib.Path]:
    """Folder with prometheus and promtool: the machine's own, or in CI Debian's package, unpacked for these tests."""
    if found := shutil.which("promtool"):
        yield pathlib.Path(found).parent
        return
    apt, unpack = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if not (os.environ.get("CI") and apt and unpack):
        pytest.skip("prometheus is not installed: apt-get install prometheus")
    with tempfile.TemporaryDirectory(prefix="ns-deb-") as name:
        folder = pathlib.Path(name)
        # Lists of its own, so that nothing of the system changes.
        (folder / "lists" / "partial").mkdir(parents=True)
        lists = ["-o", f"Dir::State::lists={folder / 'lists'}", "-o", "APT::Sandbox::User=root"]
        for words in (["update"], ["download", "prometheus"]):
            command = [str(apt), *lists, *words]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"Debian's prometheus cannot be had: {done.stderr.strip()[-200:]}")
        (package,) = folder.glob("prometheus_*.deb")
        subprocess.run([unpack, "-x", package, folder], check=True)
        yield folder / "usr" / "bin"


@pytest.fixture(scope="module")
def dashboard(repository: pathlib.Path) -> dict[str, Any]:
    return json.loads((repository / "deploy" / "grafana" / "nanostream.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rules(repository: pathlib.Path) -> list[dict[str, Any]]:
    """Every rule."""
    file = repository / "deploy" / "prometheus" / "rules.yml"
    return [rule for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


def known_series() -> set[str]:
    """Names of all series that telemetry.py has, or names of Ray's."""
    families = metrics().registry.collect()
    made = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    return {family.name + suffix for family in families for suffix in made[family.type]} | set(RAY_METRICS)


def queries(dashboard: dict[str, Any]) -> dict[str, str]:
    """Queries by the panel's title and their letter."""
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    }


def promtool(tools: pathlib.Path, *words: str | pathlib.Path) -> None:
    done = subprocess.run([tools / "promtool", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_files(tools: pathlib.Path, repository: pathlib.Path) -> None:
    """The scrape configuration and the rules are valid, and each rule's unit test passes."""
    folder = repository / "deploy" / "prometheus"
    promtool(tools, "check", "config", "--syntax-only", folder / "prometheus.yml")
    promtool(tools, "check", "rules", folder / "rules.yml")
    promtool(tools, "test", "rules", folder / "rules_test.yml")


def test_each_alert_is_tested_both_ways_and_explained(repository: pathlib.Path, rules: list[dict[str, Any]]) -> None:
    """Each alert has a unit test in which it fires and one in which it is silent, and its line in the runbook."""
    file = repository / "deploy" / "prometheus" / "rules_test.yml"
    cases = [c for t in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"] for c in t["alert_rule_test"]]
    page = (repository / "deploy" / "README.md").read_text(encoding="utf-8")
    alerts = [rule for rule in rules if "alert" in rule]
    assert len(alerts) >= 5
    for alert in alerts:
        name = alert["alert"]
        fires = {bool(case["exp_alerts"]) for case in cases if case["alertname"] == name}
        assert fires == {True, False}, name
        assert alert["annotations"]["runbook"] == f"deploy/README.md#{name.lower()}"
        assert re.search(rf"^#+ {name}$", page, re.MULTILINE), name


def test_every_query_names_a_metric_that_exists(dashboard: dict[str, Any], rules: list[dict[str, Any]]) -> None:
    """Queries of panels and rules name metrics of telemetry.py, or of Ray as listed there, and no others."""
    recorded = {rule["record"] for rule in rules if "record" in rule}
    texts = {**queries(dashboard), **{rule.get("record") or rule["alert"]: rule["expr"] for rule in rules}}
    for variable in dashboard["templating"]["list"][1:]:
        texts[variable["name"]] = variable["query"]["query"]
    for annotation in dashboard["annotations"]["list"]:
        texts[annotation["name"]] = annotation["expr"]
    known = known_series() | recorded
    for where, text in texts.items():
        named = {name for name in _METRIC.findall(text) if ":" in name or "_" in name}
        if where != "NanostreamTargetDown":
            assert named, where
        assert named <= known, (where, named - known)


def test_the_dashboard_asks_what_the_operator_asks(dashboard: dict[str, Any]) -> None:
    """Every metric of the stream is on the dashboard, and its first row says whether the training waits."""
    together = " ".join(queries(dashboard).values())
    # The ratio since the beginning is for a live line; over a window it comes from the time waited.
    assert [n for n in (f.name for f in metrics().registry.collect()) if n not in together] == [
        "nanostream_starved_ratio"
    ]
    titles = [panel["title"] for panel in dashboard["panels"]]
    assert titles[0] == "Does the training wait?"
    assert len(titles) == len(set(titles))


def test_the_dashboard_fits_grafanas_model(dashboard: dict[str, Any]) -> None:
    """Grafana's own model of a dashboard takes every field, and panels do not overlap."""
    model = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason="pip install -e .[test]")
    plugins = pytest.importorskip("grafana_foundation_sdk.cog.plugins")
    encoder = pytest.importorskip("grafana_foundation_sdk.cog.encoder")
    plugins.register_default_plugins()
    again = json.loads(encoder.JSONEncoder().encode(model.Dashboard.from_json(dashboard)))
    assert not list(missing(dashboard, again, "dashboard"))
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        covered = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        assert not covered & cells, panel["title"]
        assert max(column for column, _ in covered) < 24
        cells |= covered


def missing(sent: Any, got: Any, path: str) -> Iterator[str]:
    """What did not come back."""
    if isinstance(sent, dict):
        for key, value in sent.items():
            if not isinstance(got, dict) or key not in got:
                yield f"{path}.{key}"
            else:
                yield from missing(value, got[key], f"{path}.{key}")
    elif isinstance(sent, list):
        for number, value in enumerate(sent):
            yield from missing(value, got[number], f"{path}[{number}]")
    elif sent != got:
        yield f"{path}: {sent!r} came back as {got!r}"


@contextlib.contextmanager
def two_nodes() -> Iterator[pathlib.Path]:
    """Two Ray nodes with Ray's metrics and discovery file; yields that file. Needs a process that holds no Ray."""
    import ray
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ns-prom-", dir="/tmp")
    os.environ["RAY_TMPDIR"] = folder
    (pathlib.Path(folder) / "ray").mkdir()
    common = {"object_store_memory": 100 << 20}
    head = {"num_cpus": 0, "temp_dir": folder, "include_dashboard": True, "dashboard_port": free_port(), **common}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(num_cpus=3, **common)
        ray.init(address=cluster.address, log_to_driver=False, configure_logging=False, namespace="nanostream")
        cluster.wait_for_nodes()
        yield pathlib.Path(folder) / "prom_metrics_service_discovery.json"
    finally:
        ray.shutdown()
        cluster.shutdown()
        del os.environ["RAY_TMPDIR"]
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextlib.contextmanager
def prometheus(tools: pathlib.Path, folder: pathlib.Path, config: dict[str, Any]) -> Iterator[str]:
    """A running Prometheus; yields its address."""
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    words = [f"--web.listen-address={address}", f"--config.file={folder / 'prometheus.yml'}"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [tools / "prometheus", *words, f"--storage.tsdb.path={folder / 'data'}"], stdout=log, stderr=log
        ) as server,
    ):
        try:
            yield f"http://{address}"
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=60)


def ask(url: str, query: str) -> list[Any]:
    """Series of an instant query; none while Prometheus starts."""
    words = urllib.parse.urlencode({"query": query})
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?{words}", timeout=10) as answer:  # noqa: S310 - our own
            return json.load(answer)["data"]["result"]
    except OSError:
        return []


def filled(query: str) -> str:
    """A panel's query with the dashboard's variables as Grafana would fill them, on a scrape every second."""
    return query.replace("$__rate_interval", "15s").replace("$job", ".*").replace("$instance", ".*")


@pytest.mark.slow
def test_a_prometheus_that_reads_two_nodes_has_data_for_every_panel(
    tools: pathlib.Path, repository: pathlib.Path, dashboard: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    """Under load, with a worker killed, every panel's query and every recording rule returns data."""
    pytest.importorskip("opentelemetry.exporter.prometheus", reason="Ray's metrics need ray[default]")
    from nanostream.stream.ray import RayEngine

    config = yaml.safe_load((repository / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    shutil.copy(repository / "deploy" / "prometheus" / "rules.yml", tmp_path)
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    ray_job, gateway_job, training_job = config["scrape_configs"]
    assert (ray_job["job_name"], training_job["job_name"]) == ("ray", "training")
    config["scrape_configs"].remove(gateway_job)
    synth = functools.partial(FakeSynth, seconds=0.005)
    with two_nodes() as discovery, serve_metrics(0) as page:
        ray_job["file_sd_configs"][0].update(files=[str(discovery)], refresh_interval="1s")
        training_job["static_configs"][0]["targets"] = [urllib.parse.urlsplit(page.url).netloc]
        wanted = {name: filled(query) for name, query in queries(dashboard).items()}
        wanted["recorded wait"] = "instance:nanostream_wait:ratio"
        wanted["recorded restarts"] = "cause:nanostream_restarts:increase15m"
        with (
            prometheus(tools, tmp_path, config) as url,
            RayEngine(FakeRecipe(height=64, width=64), workers=3, synth=synth) as engine,
        ):
            samples = engine.samples(range(start, start + 4) for start in itertools.count(0, 4))
            began, kill_at = time.monotonic(), 10.0
            while wanted and time.monotonic() - began < 150:
                until = time.monotonic() + 1.0
                while time.monotonic() < until:
                    next(samples)
                if time.monotonic() - began > kill_at:
                    # A counter is there from its first count on; two of them make an increase.
                    os.kill(engine.pids()[0], signal.SIGKILL)
                    kill_at += 20.0
                wanted = {name: query for name, query in wanted.items() if not ask(url, query)}
            samples.close()
            assert not wanted, (tmp_path / "log").read_text()[-2000:]
            nodes = {series["metric"]["instance"] for series in ask(url, 'up{job="ray"} == 1')}
            assert len(nodes) >= 2
