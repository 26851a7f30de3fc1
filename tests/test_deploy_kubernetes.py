"""The Kubernetes manifests: built as they are applied, held against schemas, and looked through for what must hold."""

from __future__ import annotations

import pathlib
import re
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from nanostream.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator

kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="pip install -e .[test]")

OVERLAYS = ["overlays/cpu", "overlays/gpu", "overlays/local"]
FOLDERS = [*OVERLAYS, "jobs/export", "jobs/fit"]
VERSION = "1.33"
Document = dict[str, Any]


@pytest.fixture(scope="module")
def built(repository: pathlib.Path) -> dict[str, list[Document]]:
    """The documents of each folder, as Kustomize makes them."""
    words = ["kustomize", "build"] if shutil.which("kustomize") else ["kubectl", "kustomize"]
    if shutil.which(words[0]) is None:
        pytest.skip("neither kustomize nor kubectl is installed")
    root = repository / "deploy" / "kubernetes"
    made = {}
    for folder in FOLDERS:
        done = subprocess.run([*words, str(root / folder)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        made[folder] = list(yaml.safe_load_all(done.stdout))
    return made


def of_kind(documents: list[Document], *kinds: str) -> list[Document]:
    return [document for document in documents if document["kind"] in kinds]


def clusters(documents: list[Document]) -> list[Document]:
    """Specifications of Ray clusters, those inside jobs too."""
    specs = [document["spec"] for document in of_kind(documents, "RayCluster")]
    jobs = [document["spec"] for document in of_kind(documents, "RayJob")]
    return specs + [job["rayClusterSpec"] for job in jobs if "rayClusterSpec" in job]


def templates(documents: list[Document]) -> Iterator[Document]:
    """Every pod template, with the labels that KubeRay adds."""
    yield from (document["spec"]["template"] for document in of_kind(documents, "Deployment"))
    for job in of_kind(documents, "RayJob"):
        yield job["spec"]["submitterPodTemplate"]
    for spec in clusters(documents):
        groups = [("head", spec["headGroupSpec"]), *(("worker", group) for group in spec.get("workerGroupSpecs", []))]
        for role, group in groups:
            template = group["template"]
            added = {"ray.io/cluster": "nanostream", "ray.io/node-type": role}
            yield {**template, "metadata": {"labels": {**template["metadata"]["labels"], **added}}}


def containers(documents: list[Document]) -> Iterator[Document]:
    for template in templates(documents):
        yield from template["spec"]["containers"]


def closed(schema: Document) -> Document:
    """An OpenAPI schema in which a field that it does not name is an error, as `kubectl apply` has it."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items() if key != "description"}
    fields = made.get("properties")
    if isinstance(fields, dict) and made.get("type") == "object" and "additionalProperties" not in made:
        made["additionalProperties"] = bool(made.get("x-kubernetes-preserve-unknown-fields", False))
    return made


@pytest.mark.parametrize("folder", FOLDERS)
def test_ray_objects_are_as_kuberay_has_them(
    folder: str, built: dict[str, list[Document]], shared_data: pathlib.Path
) -> None:
    """Every RayCluster and RayJob fits KubeRay's own definition, and has no field that it does not know."""
    found = of_kind(built[folder], "RayCluster", "RayJob")
    assert found
    for document in found:
        file = shared_data / "schemas" / "kuberay" / f"ray.io_{document['kind'].lower()}s.yaml"
        versions = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]["versions"]
        schema = next(v["schema"]["openAPIV3Schema"] for v in versions if v["name"] == "v1")
        schema["properties"]["metadata"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        validator = jsonschema.Draft202012Validator(closed(schema))
        validator.validate(document)
        assert not validator.is_valid({**document, "spec": {**document["spec"], "rayVersoin": "2.60.0"}})


@pytest.mark.parametrize("folder", OVERLAYS)
def test_kubernetes_objects_fit_their_schemas(folder: str, built: dict[str, list[Document]]) -> None:
    """Everything of Kubernetes' own fits its schema, strictly; pod templates of Ray's objects do too."""
    plain = [d for d in built[folder] if d["apiVersion"].split("/")[0] not in {"ray.io", "monitoring.coreos.com"}]
    kinds = {document["kind"] for document in plain}
    assert kinds >= {"Namespace", "Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget"}
    pods = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", **template["metadata"]}, "spec": template["spec"]}
        for template in templates(built[folder])
    ]
    for document in [*plain, *pods]:
        kubernetes_validate.validate(document, VERSION, strict=True)


def test_monitors_ask_for_ports_that_there_are(built: dict[str, list[Document]]) -> None:
    """Each monitor of the operator's selects pods or a service of ours, and names ports that those have."""
    documents = built["overlays/cpu"]
    ours = [*templates(documents)]
    for monitor in of_kind(documents, "PodMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        pods = [pod for pod in ours if wanted.items() <= pod["metadata"]["labels"].items()]
        if monitor["metadata"]["name"] == "training":
            continue
        ports = {port["name"] for pod in pods for c in pod["spec"]["containers"] for port in c.get("ports", [])}
        assert {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]} <= ports
    (service,) = of_kind(documents, "Service")
    (monitor,) = of_kind(documents, "ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {e["port"] for e in monitor["spec"]["endpoints"]} == {port["name"] for port in service["spec"]["ports"]}
    assert not of_kind(built["overlays/local"], "PodMonitor", "ServiceMonitor", "PrometheusRule")


def test_the_operator_gets_the_same_rules(built: dict[str, list[Document]], repository: pathlib.Path) -> None:
    """The PrometheusRule holds what rules.yml holds."""
    (rule,) = of_kind(built["overlays/cpu"], "PrometheusRule")
    file = repository / "deploy" / "prometheus" / "rules.yml"
    assert rule["spec"] == yaml.safe_load(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("folder", FOLDERS)
def test_pods_may_do_little(folder: str, built: dict[str, list[Document]]) -> None:
    """Every container runs as somebody, on a root that it cannot write, without privilege, within stated resources."""
    for template in templates(built[folder]):
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert not [volume for volume in pod["volumes"] if "hostPath" in volume]
    for container in containers(built[folder]):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= set(container["resources"]["requests"]) & set(container["resources"]["limits"])
        assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {"/tmp"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_secrets_are_referenced_and_never_written(folder: str, built: dict[str, list[Document]]) -> None:
    """There is no Secret, no value of a variable that is one, and Ray asks for a token."""
    assert not of_kind(built[folder], "Secret")
    for container in containers(built[folder]):
        for variable in container.get("env", []):
            if re.search(r"TOKEN|PASSWORD|SECRET|KEY", variable["name"]):
                assert "value" not in variable
                assert variable["valueFrom"]["secretKeyRef"]["name"]
    for spec in clusters(built[folder]):
        assert spec["authOptions"] == {"mode": "token", "secretName": "nanostream-ray"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_head_renders_nothing(folder: str, built: dict[str, list[Document]], repository: pathlib.Path) -> None:
    """Heads have no task slots, and clusters run the Ray that constraints.txt pins."""
    pinned = re.search(r"^ray==(.+)$", (repository / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned is not None
    for spec in clusters(built[folder]):
        assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        assert spec["rayVersion"] == pinned[1]


@pytest.mark.parametrize(("folder", "group"), [("cpu", "cpu"), ("gpu", "gpu"), ("local", "cpu")])
def test_each_overlay_renders_on_one_kind(folder: str, group: str, built: dict[str, list[Document]]) -> None:
    """An overlay has workers of one backend, within sane bounds, and the image and the GPU that go with it."""
    documents = built[f"overlays/{folder}"]
    (spec,) = clusters(documents)
    groups = {g["groupName"]: g for g in spec["workerGroupSpecs"] if g["maxReplicas"]}
    assert set(groups) == {group}
    chosen = groups[group]
    assert chosen["minReplicas"] <= chosen["replicas"] <= chosen["maxReplicas"]
    assert spec["enableInTreeAutoscaling"] is (folder != "local")
    (container,) = chosen["template"]["spec"]["containers"]
    assert ("nvidia.com/gpu" in container["resources"]["limits"]) is (group == "gpu")
    assert {c["image"] for c in containers(documents)} == {"nanostream:cuda" if group == "gpu" else "nanostream:cpu"}


def test_policies_and_budgets_select_what_they_are_for(built: dict[str, list[Document]]) -> None:
    """Every pod is behind a network policy that names its ingress; each budget selects pods that there are."""
    documents = built["overlays/cpu"]
    labels = [template["metadata"]["labels"] for template in templates(documents)]
    policies = of_kind(documents, "NetworkPolicy")
    assert all("Ingress" in policy["spec"]["policyTypes"] for policy in policies)
    for one in labels:
        assert [p for p in policies if p["spec"]["podSelector"]["matchLabels"].items() <= one.items()]
    for budget in of_kind(documents, "PodDisruptionBudget"):
        assert [one for one in labels if budget["spec"]["selector"]["matchLabels"].items() <= one.items()]
        # A RayCluster has no scale subresource, so only a number of pods to keep can be counted.
        assert isinstance(budget["spec"]["minAvailable"], int)
    for job in ("jobs/export", "jobs/fit"):
        for template in templates(built[job]):
            assert template["metadata"]["labels"]["nanostream/ray"] == "true"


@pytest.mark.parametrize("folder", FOLDERS)
def test_ray_nodes_are_probed(folder: str, built: dict[str, list[Document]]) -> None:
    """Every Ray node has all three probes, on the path that Ray's agent answers without a token."""
    agent = pytest.importorskip("ray.dashboard.http_server_agent", reason="ray[default] is not installed")
    nodes = [c for spec in clusters(built[folder]) for c in of_nodes(spec)]
    assert nodes
    for container in nodes:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            path = container[probe]["httpGet"]["path"]
            assert path in pathlib.Path(agent.__file__).read_text(encoding="utf-8")


def of_nodes(spec: Document) -> Iterator[Document]:
    """Containers of Ray nodes."""
    for group in [spec["headGroupSpec"], *spec.get("workerGroupSpecs", [])]:
        yield from group["template"]["spec"]["containers"]


def test_the_gateway_is_probed(built: dict[str, list[Document]]) -> None:
    """The gateway has all three probes on a port that it opens, and is replaced before it goes."""
    (deployment,) = of_kind(built["overlays/cpu"], "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert container["startupProbe"]["httpGet"]["port"] in ports
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


@pytest.mark.parametrize("folder", ["overlays/cpu", "jobs/export", "jobs/fit"])
def test_commands_parse(folder: str, built: dict[str, list[Document]]) -> None:
    """The nanostream commands that pods and jobs run have the options that they are given."""
    texts = [job["spec"]["entrypoint"] for job in of_kind(built[folder], "RayJob")]
    for container in containers(built[folder]):
        variables = {v["name"]: v.get("value", "") for v in container.get("env", [])}
        texts += [re.sub(r"\$\((\w+)\)", lambda m, v=variables: v[m[1]], text) for text in container.get("args", [])]
    commands = [c for text in texts for c in re.findall(r"nanostream (.+)", text.replace("\\\n", " "))]
    assert commands
    for command in commands:
        if command.split()[0] not in app.COMMANDS:
            pytest.skip(f"nanostream {command.split()[0]} is not there yet")
        assert app.parse(shlex.split(command))
