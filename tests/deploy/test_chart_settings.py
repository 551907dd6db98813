"""What the chart tells the services is what they take: each starts with the configuration that a profile gives it."""

from __future__ import annotations

from importlib import import_module

import pytest

from services.kit.config import ConfigError, ServiceConfig
from tests.deploy.kubernetes import pods
from tools import chart

CONFIGS = {
    "ledger": "LedgerConfig",
    "datanet": "DatanetConfig",
    "factory": "FactoryConfig",
    "openlora": "OpenLoRAConfig",
    "attribution": "AttributionConfig",
}
ADDRESS = "0x" + "11" * 20
TOML = (
    f'platform = "{ADDRESS}"\ntreasury = "{ADDRESS}"\noperators = ["{ADDRESS}"]\nattribution_signers = ["{ADDRESS}"]\n'
)
FROM_SECRETS = {"service-secret": "s" * 48, "rpc-url": "https://user:password@rpc.example"}


def environment(rendered, service: str) -> dict[str, str]:
    """The environment of the service's container, with what Secrets and the pod's own fields would say."""
    (container,) = (
        pod["spec"]["containers"][0] for _, pod in pods(rendered) if pod["spec"]["containers"][0]["name"] == service
    )
    told: dict[str, str] = {}
    for each in container["env"]:
        assert each["name"] not in told, f"{each['name']} is there twice"
        source = each.get("valueFrom", {})
        if "secretKeyRef" in source:
            key = source["secretKeyRef"]["key"]
            value = FROM_SECRETS.get(key) or (f"postgresql://u:p@db/{key}" if key.endswith("-url") else "a password")
        elif "fieldRef" in source:
            value = f"openledger-{service}-0"
        elif "resourceFieldRef" in source:
            value = container["resources"]["limits"][source["resourceFieldRef"]["resource"].removeprefix("limits.")]
        else:
            value = each["value"]
        for name, known in told.items():
            value = value.replace(f"$({name})", known)
        told[each["name"]] = value
    return told


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    def load(rendered, service: str) -> ServiceConfig:
        told = environment(rendered, service)
        if "OPENLEDGER_LEDGER_CONFIG" in told:
            (tmp_path / "ledger.toml").write_text(TOML)
            told["OPENLEDGER_LEDGER_CONFIG"] = str(tmp_path / "ledger.toml")
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        return getattr(import_module(f"services.{service}.config"), CONFIGS[service]).load()

    return load


@pytest.mark.parametrize("service", CONFIGS)
def test_a_service_takes_what_it_is_told(rendered, loaded, service):
    config = loaded(rendered, service)
    assert config.database.startswith("sqlite" if service == "openlora" else "postgresql://")
    assert config.health_listen == "0.0.0.0:9091"
    assert str(config.data_dir) == "/var/lib/openledger/data"


def rendered_with(*settings: str):
    return chart.objects(chart.render("default", *(part for each in settings for part in ("--set-string", each))))


def test_where_artifacts_are_is_told_to_the_ledger(loaded):
    url = "https://artifacts.example.org/openledger"
    assert loaded(rendered_with(f"artifacts.url={url}"), "ledger").artifacts_url == url


def test_threads_are_as_many_as_the_limit_of_cpu_and_not_the_nodes_cores(rendered, loaded):
    limits = {"limits.cpu"}
    for service in CONFIGS:
        (env,) = (
            pod["spec"]["containers"][0]["env"]
            for _, pod in pods(rendered)
            if pod["spec"]["containers"][0]["name"] == service
        )
        told = {each["name"]: each.get("valueFrom", {}).get("resourceFieldRef", {}).get("resource") for each in env}
        assert {told["OMP_NUM_THREADS"]} == limits
        assert service != "factory" or {told["OPENLEDGER_FACTORY_THREADS"]} == limits
    cpu = environment(rendered, "factory")["OPENLEDGER_FACTORY_THREADS"]
    assert loaded(rendered, "factory").threads == int(cpu)


def test_threads_that_somebody_sets_are_theirs(loaded):
    assert loaded(rendered_with("services.factory.config.threads=3"), "factory").threads == 3


@pytest.mark.parametrize(("said", "told"), (("null", False), ("true", True), ("false", False)))
def test_a_chain_without_blocks_of_its_own_is_said_to_be_one(said, told, loaded):
    rendered = chart.objects(chart.render("production", "--set", f"chain.quiet={said}"))
    assert loaded(rendered, "ledger").quiet is told
    assert ("OPENLEDGER_LEDGER_QUIET_CHAIN" in environment(rendered, "ledger")) is (said != "null")


@pytest.mark.parametrize("by", ("config", "environment"))
def test_a_ledger_whose_key_a_signing_service_has_is_told_of_no_file(by, loaded):
    url = {
        "config": ("services.ledger.config.signer_url=http://signer:9000",),
        "environment": (
            "services.ledger.extraEnv[0].name=OPENLEDGER_LEDGER_SIGNER_URL",
            "services.ledger.extraEnv[0].value=http://signer:9000",
        ),
    }[by]
    config = loaded(rendered_with(*url, f"services.ledger.config.signer_address={ADDRESS}"), "ledger")
    assert config.signer_url == "http://signer:9000"
    assert config.operator_key_file is None


def test_a_setting_that_a_service_does_not_know_is_found_here(loaded):
    rendered = chart.objects(chart.render("default", "--set-string", "services.ledger.config.leese_seconds=60"))
    with pytest.raises(ConfigError, match="OPENLEDGER_LEDGER_LEASE_SECONDS meant"):
        loaded(rendered, "ledger")


def test_attribution_hears_of_every_replica_and_knows_them_by_their_certificates_name(loaded):
    config = loaded(chart.objects(chart.render("production")), "attribution")
    assert config.openlora == "dns:openledger-openlora-headless:7404"
    assert config.openlora_tls_name == "openledger-openlora"


def test_where_a_service_is_told_another_one_is_there_is_one(rendered):
    there = {
        f"{each['metadata']['name']}:{port['port']}"
        for each in rendered
        if each["kind"] == "Service"
        for port in each["spec"]["ports"]
    }
    for service in CONFIGS:
        told = environment(rendered, service)
        for other in CONFIGS:
            where = told.get(f"OPENLEDGER_{service.upper()}_{other.upper()}")
            assert where is None or where.removeprefix("dns:") in there


def test_every_key_that_a_service_is_told_of_is_mounted(rendered):
    for _, pod in pods(rendered):
        container = pod["spec"]["containers"][0]
        mounts = {mount["mountPath"] for mount in container.get("volumeMounts", [])}
        for each in container.get("env", []):
            if each["name"].endswith("_FILE"):
                assert each["value"].rpartition("/")[0] in mounts, each
    for service in CONFIGS:
        (keys,) = (
            volume["secret"]
            for _, pod in pods(rendered)
            if pod["spec"]["containers"][0]["name"] == service
            for volume in pod["spec"]["volumes"]
            if volume["name"] == "keys"
        )
        listed = {item["path"] for item in keys["items"]}
        told = environment(rendered, service)
        for name, value in told.items():
            if value.startswith("/etc/openledger/keys/"):
                assert value.rpartition("/")[2] in listed, name
