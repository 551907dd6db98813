"""What the chart does not render: values that are unknown, wrong, or missing. Each refusal names the value."""

from __future__ import annotations

import subprocess

import pytest

from tools import chart, helm

UNKNOWN = (
    ("colour=red", "colour"),
    ("services.gateway.replicas=1", "gateway"),
    ("services.ledger.replica=2", "replica"),
    ("services.openlora.persistence.enabled=false", "enabled"),
    ("services.ledger.image.repository=x", "repository"),
    ("services.openlora.resources.limit.cpu=1", "limit"),
    ("chain.dev.port=1", "port"),
    ("secrets.create=true", "create"),
    ("tls.existingSecrets.gateway=x", "gateway"),
)
WRONG = (
    ("services.ledger.replicas=two", "/services/ledger/replicas"),
    ("services.ledger.replicas=0", "/services/ledger/replicas"),
    ("services.attribution.replicas=2", "/services/attribution"),
    ("services.factory.replicas=2", "/services/factory"),
    ("services.datanet.replicas=2", "/services/datanet"),
    ("services.attribution.autoscaling.enabled=true", "/services/attribution"),
    ("services.ledger.pdb.enabled=perhaps", "/services/ledger/pdb/enabled"),
    ("services.ledger.config.lease_seconds=60", "/services/ledger/config/lease_seconds"),
    ("services.ledger.resources.limits.memory=much", "/services/ledger/resources/limits/memory"),
    ("services.ledger.resources.limits.memory=null", "/services/ledger/resources/limits"),
    ("services.ledger.image.tag=latest", "/services/ledger/image/tag"),
    ("services.ledger.image.digest=sha256:1", "/services/ledger/image/digest"),
    ("services.ledger.terminationGracePeriodSeconds=1", "/services/ledger/terminationGracePeriodSeconds"),
    ("image.tag=latest", "/image/tag"),
    ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
    ("logLevel=loud", "/logLevel"),
    ("chain.id=0", "/chain/id"),
    ("chain.rpcUrl=node", "/chain/rpcUrl"),
    ("addresses.platform=me", "/addresses/platform"),
    ("addresses.operators={0x12}", "/addresses/operators"),
    ("postgresql.internal.image=postgres", "/postgresql/internal/image"),
    ("postgresql.internal.image=postgres:latest", "/postgresql/internal/image"),
    ("artifacts.accessModes={ReadOnlyMany}", "/artifacts/accessModes"),
    ("artifacts.url=http://artifacts.example.org", "/artifacts/url"),
    ("artifacts.url=https://me:password@artifacts.example.org", "/artifacts/url"),
    ("expose.services={chain}", "/expose/services"),
    ("test.deposit=all", "/test/deposit"),
    ("secrets.existingSecret=My_Secret", "/secrets/existingSecret"),
)
OWN = ("secrets.generate=false", "secrets.existingSecret=k")
MISSING = (
    (("secrets.generate=false",), "secrets.existingSecret is missing"),
    (("secrets.existingSecret=k",), "secrets.existingSecret and secrets.generate are two"),
    (OWN, "addresses.platform and addresses.attributionSigners are missing"),
    (("postgresql.internal.enabled=false",), "postgresql.existingSecret is missing"),
    (("postgresql.existingSecret=d",), "postgresql.existingSecret and postgresql.internal.enabled are two"),
    (("chain.dev.enabled=false",), "chain.rpcUrl is missing"),
    (("chain.rpcUrl=http://node:8545",), "chain.rpcUrl and chain.dev.enabled are two"),
    (("chain.rpcUrl=http://a:1", "chain.rpcUrlSecret=s"), "chain.rpcUrl and chain.rpcUrlSecret are two"),
    (("chain.id=10",), "chain.id is 10, and the development chain's is 31337"),
    (("chain.id=10", "chain.dev.enabled=false", "chain.rpcUrl=http://a:1"), "chain 10 is not for development"),
    (("services.ledger.replicas=2",), "on the development chain there is one ledger"),
    (("tls.enabled=true",), "tls.existingSecrets.attribution is missing"),
    (("tls.enabled=true", "tls.certManager.enabled=true"), "tls.certManager.issuerRef.name is missing"),
    (("expose.ingress.enabled=true",), "expose.domain is missing"),
    (("expose.gateway.enabled=true",), "expose.domain is missing"),
    (("expose.domain=a.example", "expose.ingress.enabled=true"), "networkPolicy.clients is missing"),
    (("expose.domain=a.example", "expose.gateway.enabled=true"), "networkPolicy.clients is missing"),
    (("addresses.treasury=0x" + "11" * 20,), "addresses.treasury and secrets.generate are two"),
    (("services.ledger.config.rpc_url=http://a:1",), "services.ledger.config.rpc_url is set by the chart"),
    (("services.openlora.config.trace_key_file=/k",), "services.openlora.config.trace_key_file is set by the chart"),
    (
        ("services.openlora.autoscaling.enabled=true", "services.openlora.autoscaling.keda=true"),
        "services.openlora.autoscaling.prometheus is missing",
    ),
)


def refusal(*settings: str) -> str:
    with pytest.raises(chart.Refused) as refused:
        chart.render("default", *(part for setting in settings for part in ("--set", setting)))
    return str(refused.value)


@pytest.mark.parametrize(("setting", "key"), UNKNOWN)
def test_a_key_that_is_not_known_is_refused(setting, key):
    said = refusal(setting)
    assert "additional properties" in said.lower()
    assert f"'{key}'" in said


@pytest.mark.parametrize(("setting", "place"), WRONG)
def test_a_value_that_cannot_be_is_refused_by_its_place(setting, place):
    said = refusal(setting)
    assert f"'{place}" in said, said


def test_a_setting_is_named_in_lower_case():
    assert "invalid propertyName 'LEASE_SECONDS'" in refusal("services.ledger.config.LEASE_SECONDS=a")


@pytest.mark.parametrize(("settings", "says"), MISSING)
def test_what_is_missing_or_there_twice_is_said_in_words(settings, says):
    assert says in refusal(*settings)


def test_lint_finds_nothing(profile):
    command = (str(helm.fetch()), "lint", "--strict", str(chart.CHART), *chart.values(profile))
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 chart(s) linted, 0 chart(s) failed" in ran.stdout
