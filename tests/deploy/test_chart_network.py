"""Who may talk to whom: what the architecture says, and nobody else."""

from __future__ import annotations

from tests.deploy.kubernetes import component, named, of_kind, pods
from tools import chart

CALLS = {
    "datanet": {"ledger", "factory"},
    "factory": {"datanet", "ledger"},
    "openlora": {"ledger", "datanet"},
    "attribution": {"openlora", "ledger", "factory"},
    "ledger": {"attribution"},
}
"""docs/architecture.md: what passes between the rooms."""


def components(peers: list[dict]) -> set[str]:
    return {
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for peer in peers
        if "namespaceSelector" not in peer
    }


def test_the_edges_are_those_of_the_architecture(rendered):
    for service, calls in CALLS.items():
        policy = named(rendered, "NetworkPolicy", f"openledger-{service}")["spec"]
        (entrance,) = (rule for rule in policy["ingress"] if rule["ports"] == [{"port": "grpc"}])
        assert components(entrance["from"]) == {other for other in CALLS if service in CALLS[other]} | {"test"}
        peers = [peer for rule in policy["egress"] for peer in rule.get("to", [])]
        assert components(peers) - {"postgresql", "chain"} == calls


def test_what_stands_behind_is_for_those_who_need_it():
    rendered = chart.objects(chart.render("default"))
    for behind, callers in (
        ("postgresql", {"ledger", "datanet", "factory", "attribution", "migration"}),
        ("chain", {"ledger"}),
    ):
        (rule,) = named(rendered, "NetworkPolicy", f"openledger-{behind}")["spec"]["ingress"]
        assert components(rule["from"]) == callers


def test_every_pod_is_closed_unless_a_policy_opens_it(rendered):
    default = named(rendered, "NetworkPolicy", "openledger-default")["spec"]
    assert default["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in default
    assert [port["port"] for rule in default["egress"] for port in rule["ports"]] == [53, 53]
    for name, pod in pods(rendered):
        assert default["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items(), name


def test_a_port_that_is_opened_is_one_that_is_listened_on(rendered):
    ports = {
        component(pod): {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0].get("ports", [])}
        for _, pod in pods(rendered)
    }
    for policy in of_kind(rendered, "NetworkPolicy"):
        for rule in policy["spec"].get("egress", []):
            for peer in rule.get("to", []):
                target = peer["podSelector"]["matchLabels"].get("app.kubernetes.io/component")
                for port in rule.get("ports", []) if target else []:
                    assert port["port"] in ports[target].values()
