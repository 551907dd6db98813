"""Everything that is rendered is what three versions of Kubernetes take, by their own schemas."""

from __future__ import annotations

import kubernetes_validate
import pytest

from tools import chart

VERSIONS = ("1.31", "1.33", "1.35")
# Of other makers, whose schemas are not Kubernetes'.
OTHERS = {
    "cert-manager.io/v1",
    "gateway.networking.k8s.io/v1",
    "keda.sh/v1alpha1",
    "monitoring.coreos.com/v1",
}
EVERYTHING = (
    "expose.domain=openledger.example",
    "expose.ingress.enabled=true",
    "networkPolicy.clients[0].podSelector.matchLabels.app=ingress",
    "expose.ingress.tlsSecret=t",
    "services.openlora.autoscaling.enabled=true",
    "services.ledger.autoscaling.enabled=true",
    "priorityClasses.create=true",
)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_profile_is_what_kubernetes_takes(rendered, version):
    own = [each for each in rendered if each["apiVersion"] not in OTHERS]
    assert len(own) > 20
    for each in own:
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_so_is_what_no_profile_has(version):
    settings = [part for setting in EVERYTHING for part in ("--set", setting)]
    rendered = chart.objects(chart.render("default", *settings))
    assert {"Ingress", "HorizontalPodAutoscaler", "PriorityClass"} <= {each["kind"] for each in rendered}
    for each in rendered:
        kubernetes_validate.validate(each, version, strict=True)


def test_what_kubernetes_does_not_take_would_be_found(rendered):
    (service, *_) = (each for each in rendered if each["kind"] == "Service")
    service = {**service, "spec": {**service["spec"], "colour": "red"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, VERSIONS[0], strict=True)


def test_others_kinds_are_there_where_they_are_asked_for():
    rendered = chart.objects(chart.render("production"))
    assert {each["kind"] for each in rendered if each["apiVersion"] in OTHERS} == {
        "Certificate",
        "GRPCRoute",
        "PodMonitor",
        "PrometheusRule",
    }
    keda = ("services.openlora.autoscaling.keda=true", "services.openlora.autoscaling.prometheus=http://p:9090")
    scaled = chart.objects(chart.render("production", *(part for each in keda for part in ("--set", each))))
    assert [each["metadata"]["name"] for each in scaled if each["kind"] == "ScaledObject"] == ["openledger-openlora"]
