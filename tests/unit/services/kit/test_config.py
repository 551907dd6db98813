from __future__ import annotations

from typing import ClassVar

import pytest

from services.kit.config import ConfigError, ServiceConfig


class ToyConfig(ServiceConfig):
    service: ClassVar[str] = "toy"

    colour: str = "blue"


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENLEDGER_TOY_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("OPENLEDGER_TOY_ARTIFACTS_DIR", str(tmp_path))
    monkeypatch.setenv("OPENLEDGER_TOY_SERVICE_SECRET", "x" * 32)
    return monkeypatch


def test_the_environment_beats_the_file(environment, tmp_path):
    file = tmp_path / "toy.toml"
    file.write_text('colour = "red"\nlog_level = "debug"\n')
    environment.setenv("OPENLEDGER_TOY_CONFIG", str(file))
    environment.setenv("OPENLEDGER_TOY_COLOUR", "green")
    config = ToyConfig.load()
    assert (config.colour, config.log_level) == ("green", "debug")


def test_the_database_is_a_file_of_the_service_unless_said_otherwise(environment, tmp_path):
    assert ToyConfig.load().database == f"sqlite:///{tmp_path}/toy.db"
    environment.setenv("OPENLEDGER_TOY_DATABASE_URL", "postgresql://there/x")
    assert ToyConfig.load().database == "postgresql://there/x"


def test_no_secret_is_shown(environment):
    environment.setenv("OPENLEDGER_TOY_DATABASE_URL", "postgresql://me:p:ss@word@there:5432/x")
    shown = ToyConfig.load().resolved()
    assert "xxx" not in str(shown)
    assert shown["database_url"] == "postgresql://me:***@there:5432/x"


def test_what_kubernetes_tells_every_pod_is_no_setting(environment):
    environment.setenv("OPENLEDGER_TOY_SERVICE_HOST", "10.0.0.1")
    environment.setenv("OPENLEDGER_TOY_PORT_7401_TCP_ADDR", "10.0.0.1")
    assert ToyConfig.load().colour == "blue"


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    (
        ("LISTEN", "here", "host:port"),
        ("LISTEN", "127.0.0.1:99999", "host:port"),
        ("SERVICE_SECRET", "short", "at least 32 characters"),
        ("LOG_LEVEL", "loud", "pattern"),
        ("MAX_RPCS", "0", "greater than or equal to 1"),
        ("DATABASE_URL", "a database", "sqlite:///<file>"),
        ("DATABASE_URL", "mysql://there/x", "postgresql://<user>"),
        ("COLOR", "red", "is OPENLEDGER_TOY_COLOUR meant?"),
        ("WHATEVER", "red", "take it out"),
        ("CONFIG", "/no/such/file.toml", "which is no file"),
    ),
)
def test_a_wrong_setting_is_named_with_what_is_wrong(environment, setting, value, says):
    environment.setenv(f"OPENLEDGER_TOY_{setting}", value)
    with pytest.raises(ConfigError) as caught:
        ToyConfig.load()
    assert f"OPENLEDGER_TOY_{setting}" in str(caught.value)
    assert says in str(caught.value)


def test_an_unknown_key_in_the_file_is_refused(environment, tmp_path):
    file = tmp_path / "toy.toml"
    file.write_text('color = "red"\n')
    environment.setenv("OPENLEDGER_TOY_CONFIG", str(file))
    with pytest.raises(ConfigError, match="OPENLEDGER_TOY_COLOR"):
        ToyConfig.load()


def test_a_file_that_is_no_toml_is_refused(environment, tmp_path):
    file = tmp_path / "toy.toml"
    file.write_text("colour = = red\n")
    environment.setenv("OPENLEDGER_TOY_CONFIG", str(file))
    with pytest.raises(ConfigError, match="toy cannot read its configuration"):
        ToyConfig.load()


def test_what_is_missing_is_named(environment):
    environment.delenv("OPENLEDGER_TOY_DATA_DIR")
    with pytest.raises(ConfigError, match="OPENLEDGER_TOY_DATA_DIR: Field required"):
        ToyConfig.load()


def test_another_secret_is_taken_while_the_secret_is_changed_and_ours_is_the_first(environment):
    assert ToyConfig.load().secrets == ("x" * 32,)
    environment.setenv("OPENLEDGER_TOY_SERVICE_SECRET_ALSO", "")
    assert ToyConfig.load().secrets == ("x" * 32,)
    environment.setenv("OPENLEDGER_TOY_SERVICE_SECRET_ALSO", "y" * 32)
    config = ToyConfig.load()
    assert config.secrets == ("x" * 32, "y" * 32)
    assert "y" * 32 not in str(config.resolved())
    environment.setenv("OPENLEDGER_TOY_SERVICE_SECRET_ALSO", "y" * 31)
    with pytest.raises(ConfigError, match=r"OPENLEDGER_TOY_SERVICE_SECRET_ALSO: .*32 characters"):
        ToyConfig.load()
