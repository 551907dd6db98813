from __future__ import annotations

import pytest

from services.attribution.config import AttributionConfig
from services.kit.config import ConfigError
from services.kit.testing import settings


def values(tmp_path, **more):
    return settings("attribution", tmp_path, openlora="127.0.0.1:1", ledger="127.0.0.1:2") | more


def test_defaults_that_a_small_machine_can_bear(tmp_path):
    config = AttributionConfig.load(**values(tmp_path))
    assert (config.threads, config.base) == (1, "smollm2-135m-instruct")
    assert config.key_file == tmp_path / "attribution" / "signing.key"


def test_the_environment_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENLEDGER_ATTRIBUTION_OPERATORS", '["0x' + "A" * 40 + '"]')
    monkeypatch.setenv("OPENLEDGER_ATTRIBUTION_SIGNING_KEY_FILE", "/keys/a.key")
    config = AttributionConfig.load(**values(tmp_path))
    assert config.operators == ("0x" + "a" * 40,)
    assert str(config.key_file) == "/keys/a.key"


@pytest.mark.parametrize(
    ("wrong", "words"),
    (
        ({"openlora": "nowhere"}, "OPENLORA: .*host:port"),
        ({"openlora": ""}, "OPENLORA"),
        ({"openlora": "10.0.0.1:7404,"}, "OPENLORA: .*'' must be host:port"),
        ({"openlora": "dns:openlora"}, "OPENLORA: .*dns:host:port"),
        ({"replicas_seconds": 0}, "REPLICAS_SECONDS"),
        ({"factory": "nowhere"}, "FACTORY: .*host:port"),
        ({"max_private_bytes": 0}, "MAX_PRIVATE_BYTES"),
        ({"ledger": ""}, "LEDGER"),
        ({"operators": ("me",)}, "OPERATORS.*not an address"),
        ({"threads": 0}, "THREADS"),
        ({"wait_seconds": 61}, "WAIT_SECONDS"),
    ),
)
def test_what_is_wrong_is_named(tmp_path, wrong, words):
    with pytest.raises(ConfigError, match=words):
        AttributionConfig.load(**values(tmp_path, **wrong))
