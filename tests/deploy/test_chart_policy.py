"""What holds for everything that the chart runs, in every profile."""

from __future__ import annotations

import re

import yaml

from tests.deploy.kubernetes import containers, named, of_kind, pods
from tools import chart

SERVICES = ("attribution", "datanet", "factory", "ledger", "openlora")


def test_nobody_is_root_and_nobody_becomes_more_than_they_are(rendered):
    for name, pod in pods(rendered):
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod["spec"]), name
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name


def test_no_volume_is_the_hosts(rendered):
    kinds = {kind for _, pod in pods(rendered) for volume in pod["spec"]["volumes"] for kind in set(volume) - {"name"}}
    assert kinds <= {"emptyDir", "secret", "configMap", "persistentVolumeClaim"}


def test_nobody_has_a_token_of_the_api_server_and_nobody_has_rights_there(rendered):
    for name, pod in pods(rendered):
        assert pod["spec"]["automountServiceAccountToken"] is False, name
    assert of_kind(rendered, "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding") == []
    for account in of_kind(rendered, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_everything_is_bounded(rendered):
    for name, pod in pods(rendered):
        for container in containers(pod):
            for part in ("requests", "limits"):
                assert {"cpu", "memory"} <= set(container["resources"][part]), name


def test_what_serves_is_probed_and_leaves_in_good_order(rendered):
    for name, pod in pods(rendered):
        if pod["of"] in {"Job", "Pod"}:
            continue
        for container in pod["spec"]["containers"]:
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container), name
        assert pod["spec"]["terminationGracePeriodSeconds"] >= 30, name


def test_services_say_themselves_whether_they_are_ready(rendered):
    seen = set()
    for name, pod in pods(rendered):
        component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
        if component in SERVICES and pod["of"] != "Job":
            (container,) = pod["spec"]["containers"]
            (health,) = (port["containerPort"] for port in container["ports"] if port["name"] == "health")
            assert container["readinessProbe"]["grpc"] == container["startupProbe"]["grpc"] == {"port": health}, name
            drain = {each["name"]: each.get("value") for each in container["env"]}.get(
                f"OPENLEDGER_{component.upper()}_DRAIN_SECONDS", "10"
            )
            assert pod["spec"]["terminationGracePeriodSeconds"] > float(drain) + 5, name
            seen.add(component)
    assert seen == set(SERVICES)


def test_images_are_named_by_version_or_digest(rendered):
    for name, pod in pods(rendered):
        for container in containers(pod):
            assert re.search(r"(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]{64})$", container["image"]), name
            assert not container["image"].endswith(":latest"), name


def test_no_secret_stands_in_a_manifest(rendered):
    for name, pod in pods(rendered):
        for container in containers(pod):
            for each in container.get("env", []):
                if re.search(r"SECRET|PASSWORD|_KEY$", each["name"]):
                    assert "secretKeyRef" in each["valueFrom"], (name, each["name"])


def test_what_selects_finds_exactly_its_own(rendered):
    labels = [pod["metadata"]["labels"] for _, pod in pods(rendered)]
    for each in of_kind(rendered, "Service"):
        found = [own for own in labels if each["spec"]["selector"].items() <= own.items()]
        assert len(found) == 1, each["metadata"]["name"]


def test_the_rules_find_the_pods_by_the_job_that_the_monitor_names():
    rendered = chart.objects(chart.render("production"))
    monitor = named(rendered, "PodMonitor", "openledger")["spec"]
    rules = yaml.safe_load((chart.CHART / "rules" / "services.yaml").read_text())["groups"][0]["rules"]
    (down,) = (rule["expr"] for rule in rules if rule["alert"] == "ServiceDown")
    (job,) = re.findall(r'job=~"([^"]*)"', down)
    for name, pod in pods(rendered):
        if pod["of"] == "StatefulSet":
            assert re.fullmatch(job, pod["metadata"]["labels"][monitor["jobLabel"]]), name
