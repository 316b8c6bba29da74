"""The Kubernetes manifests: valid by Kubernetes' own schemas, of one piece, sealed, and true to the code."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from core.settings import Settings
from masktune.cli.main import app as command_line
from tests.openapi import snapshot
from tests.support.machine import needs

ROOT = Path(__file__).parents[3] / "deploy" / "kubernetes"
FOLDERS = [ROOT / "base", ROOT / "gpu", ROOT / "autoscaling", ROOT / "backend"]
VERSION = "1.33"
"""The oldest that is still maintained somewhere; what is valid there is valid in what follows."""

Manifest = dict[str, Any]


def kustomization(folder: Path) -> Manifest:
    found: Manifest = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return found


def plain(folder: Path) -> Iterator[Manifest]:
    """The manifests that the folder's kustomization names, without the labels that it adds."""
    for name in kustomization(folder)["resources"]:
        path = (folder / name).resolve()
        if path.is_dir():
            yield from plain(path)
        else:
            yield from yaml.safe_load_all(path.read_text())


def rendered(folder: Path) -> list[Manifest]:
    """As `kubectl apply -k` would send them."""
    needs("kustomize")
    command = ["kustomize", "build"] if shutil.which("kustomize") else ["kubectl", "kustomize"]
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


BY_NAME = {f"{m['kind']}/{m['metadata']['name']}": m for folder in FOLDERS for m in plain(folder)}
DEPLOYMENTS = {name: m for name, m in BY_NAME.items() if m["kind"] == "Deployment"}
PODS = {name: m["spec"]["template"]["spec"] for name, m in DEPLOYMENTS.items()}
over_deployments = pytest.mark.parametrize("name", DEPLOYMENTS)


def container(name: str) -> Manifest:
    (found,) = PODS[name]["containers"]
    return dict(found)


@pytest.mark.parametrize("manifest", BY_NAME.values(), ids=BY_NAME)
def test_a_manifest_is_valid(manifest: Manifest) -> None:
    kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_the_check_itself_finds_a_misspelt_field() -> None:
    """A validation that lets everything pass would look the same as one that found nothing."""
    bad = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "dat": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(bad, VERSION, strict=True)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_what_kustomize_makes_is_valid(folder: Path) -> None:
    found = rendered(folder)
    assert len(found) == len(list(plain(folder)))
    for manifest in found:
        kubernetes_validate.validate(manifest, VERSION, strict=True)
        if manifest["kind"] == "Deployment":
            labels = manifest["spec"]["template"]["metadata"]["labels"]
            assert manifest["spec"]["selector"]["matchLabels"].items() <= labels.items()
            assert labels["app.kubernetes.io/part-of"] == "masktune"  # what the network policy is about


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_file_is_named_by_its_kustomization(folder: Path) -> None:
    named = {(folder / name).resolve() for name in kustomization(folder)["resources"]}
    assert set(folder.glob("*.yaml")) - {folder / "kustomization.yaml"} <= named
    assert all(path.exists() for path in named)


def test_an_image_that_is_named_is_that_of_its_deployments_alone(tmp_path: Path) -> None:
    """The workers on GPUs would fail to find one in an image that was built for processors."""
    images = [
        {"name": "masktune", "newName": "registry.example/masktune", "newTag": "1.0"},
        {"name": "masktune-gpu", "newName": "registry.example/masktune", "newTag": "1.0-gpu"},
    ]
    for number, named in enumerate((images[:1], images)):
        overlay = tmp_path / str(number)
        overlay.mkdir()
        resources = [os.path.relpath(ROOT / "gpu", overlay.resolve())]
        (overlay / "kustomization.yaml").write_text(yaml.safe_dump({"resources": resources, "images": named}))
        found = {
            manifest["metadata"]["name"]: manifest["spec"]["template"]["spec"]["containers"][0]["image"]
            for manifest in rendered(overlay)
            if manifest["kind"] == "Deployment"
        }
        gpu = found.pop("masktune-worker-gpu")
        assert gpu == ("registry.example/masktune:1.0-gpu" if named == images else "masktune-gpu")
        assert set(found.values()) == {"registry.example/masktune:1.0"}


@over_deployments
def test_fronts_and_workers_are_scaled_apart(name: str) -> None:
    """A number in the manifest would undo, at every apply, what somebody or an autoscaler has set."""
    assert "replicas" not in DEPLOYMENTS[name]["spec"]


@over_deployments
def test_a_pod_is_sealed(name: str) -> None:
    pod, inside = PODS[name]["securityContext"], container(name)["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] >= 10_000
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert PODS[name]["automountServiceAccountToken"] is False
    assert inside == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@over_deployments
def test_a_pod_can_write_where_it_must(name: str) -> None:
    mounted = {mount["mountPath"]: mount["name"] for mount in container(name)["volumeMounts"]}
    assert set(mounted.values()) == {volume["name"] for volume in PODS[name]["volumes"]}
    assert "/tmp" in mounted
    assert ("/data" in mounted) is (name != "Deployment/masktune-web")  # which keeps no files


@over_deployments
def test_a_pod_runs_a_command_of_ours(name: str) -> None:
    program, command, *_ = container(name)["args"]
    known = {one.callback.__name__ for one in command_line.registered_commands if one.callback}
    assert program == "masktune"
    assert command in known


@over_deployments
def test_memory_is_bounded(name: str) -> None:
    assert "memory" in container(name)["resources"]["limits"]
    assert {"cpu", "memory"} <= set(container(name)["resources"]["requests"])


def test_the_settings_exist() -> None:
    names = {f"MASKTUNE_{field.upper()}" for field in Settings.model_fields}
    names |= {"MASKTUNE_URL", "MASKTUNE_WEB_HOST"}  # the dashboard's own
    given = set(BY_NAME["ConfigMap/masktune"]["data"])
    given |= {variable["name"] for name in DEPLOYMENTS for variable in container(name).get("env", ())}
    assert given - {"TMPDIR"} <= names
    Settings(
        **{k.removeprefix("MASKTUNE_").lower(): v for k, v in BY_NAME["ConfigMap/masktune"]["data"].items()}
    )


def test_the_probes_ask_for_routes_that_exist() -> None:
    api = container("Deployment/masktune-api")
    asked = {probe["httpGet"]["path"] for key, probe in api.items() if key.endswith("Probe")}
    assert asked == {"/livez", "/readyz"}
    assert asked <= set(snapshot()["paths"])


@pytest.mark.parametrize("name", [name for name, m in BY_NAME.items() if m["kind"] == "Service"])
def test_a_service_leads_to_a_port_of_its_pods(name: str) -> None:
    service = BY_NAME[name]["spec"]
    (target,) = (
        deployment
        for deployment, m in DEPLOYMENTS.items()
        if service["selector"].items() <= m["spec"]["template"]["metadata"]["labels"].items()
    )
    ports = {port["name"] for port in container(target)["ports"]}
    assert {port["targetPort"] for port in service["ports"]} <= ports


def test_the_autoscalers_scale_what_is_there() -> None:
    scaled = [m["spec"]["scaleTargetRef"] for m in BY_NAME.values() if m["kind"] == "HorizontalPodAutoscaler"]
    assert {f"{one['kind']}/{one['name']}" for one in scaled} == {
        "Deployment/masktune-api",
        "Deployment/masktune-worker",
    }


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a Kubernetes label selector matches these labels."""
    expressions = selector.get("matchExpressions", [])
    assert all(expression["operator"] == "In" for expression in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(expression["key"]) in expression["values"] for expression in expressions
    )


def allows(
    policies: list[Manifest], direction: str, port: int, pod: dict[str, str], peer: dict[str, str]
) -> bool:
    """Whether `pod` may take TCP connections from `peer` ("ingress") at the port, or make them ("egress")."""
    about = [
        policy["spec"]
        for policy in policies
        if direction.capitalize() in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], pod)
    ]
    peers = {"ingress": "from", "egress": "to"}[direction]
    return not about or any(
        any(
            rule_port["port"] == port and rule_port.get("protocol", "TCP") == "TCP"
            for rule_port in rule["ports"]
        )
        and (peers not in rule or any(selects(one["podSelector"], peer) for one in rule[peers]))
        for spec in about
        for rule in spec.get(direction, ())
    )


@pytest.fixture(scope="module")
def reaches() -> Callable[[str, str, int], bool]:
    """Whether a connection passes the policies of both ends; other names are of somebody else's pods."""
    manifests = [*rendered(ROOT / "gpu"), *rendered(ROOT / "backend")]
    policies = [manifest for manifest in manifests if manifest["kind"] == "NetworkPolicy"]
    labels = {
        manifest["metadata"]["name"].removeprefix("masktune-"): manifest["spec"]["template"]["metadata"][
            "labels"
        ]
        for manifest in manifests
        if manifest["kind"] == "Deployment"
    } | {name: {"masktune-backend": name} for name in ("database", "broker")}

    def both_allow(source: str, target: str, port: int) -> bool:
        ends = labels.get(source, {}), labels.get(target, {})
        return allows(policies, "egress", port, *ends) and allows(policies, "ingress", port, *reversed(ends))

    return both_allow


@pytest.mark.parametrize(("target", "port"), [("database", 5432), ("broker", 6379)])
def test_database_and_broker_are_reached_by_api_and_workers_alone(
    reaches: Callable[[str, str, int], bool], target: str, port: int
) -> None:
    sources = ("api", "worker", "worker-gpu", "web", "another pod")
    assert [source for source in sources if reaches(source, target, port)] == ["api", "worker", "worker-gpu"]


def test_the_dashboard_reaches_the_api_and_no_database_elsewhere(
    reaches: Callable[[str, str, int], bool],
) -> None:
    assert reaches("web", "api", 8000)
    assert not reaches("web", "a database outside the cluster", 5432)
    assert reaches("api", "a database outside the cluster", 5432)


def test_api_and_dashboard_are_open_at_their_ports_and_workers_at_none(
    reaches: Callable[[str, str, int], bool],
) -> None:
    ports = (8000, 8080, 5432)
    open_ports = {
        target: [port for port in ports if reaches("an ingress", target, port)]
        for target in ("api", "web", "worker", "worker-gpu")
    }
    assert open_ports == {"api": [8000], "web": [8080], "worker": [], "worker-gpu": []}
