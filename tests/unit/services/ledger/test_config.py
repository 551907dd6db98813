from __future__ import annotations

import pytest

from services.kit.config import ConfigError
from services.kit.testing import settings
from services.ledger.config import LedgerConfig

A = "0x" + "Aa" * 20


def load(tmp_path, **more) -> LedgerConfig:
    return LedgerConfig.load(**settings("ledger", tmp_path, rpc_url="http://127.0.0.1:1", platform=A, **more))


def test_addresses_are_kept_in_lower_case(tmp_path):
    config = load(tmp_path, operators=[A], attribution="127.0.0.1:2", attribution_signers=[A], treasury=A)
    assert config.platform == config.treasury == config.operators[0] == config.attribution_signers[0] == A.lower()


def test_settings_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENLEDGER_LEDGER_OPERATORS", f'["{A}"]')
    monkeypatch.setenv("OPENLEDGER_LEDGER_CHALLENGE_WINDOW_SECONDS", "2")
    config = load(tmp_path)
    assert (config.operators, config.challenge_window_seconds) == ((A.lower(),), 2)


@pytest.mark.parametrize(
    ("more", "words"),
    (
        ({"platform": "me"}, "PLATFORM: .*is not an address"),
        ({"rpc_url": "127.0.0.1:8545"}, "RPC_URL"),
        ({"developer_bps": 9000, "stakers_bps": 2000}, "more than everything"),
        ({"developer_bps": 4000, "stakers_bps": 1001}, "less than the 5000 basis points"),
        ({"split_delay_seconds": 0}, "SPLIT_DELAY_SECONDS"),
        ({"poll_seconds": 1791}, "split_lag_seconds: half of 3600 s"),
        ({"poll_seconds": 21, "split_lag_seconds": 60}, "split_lag_seconds: half of 60 s"),
        ({"chain_id": 1, "confirmations": 9, "split_lag_seconds": 68}, "make it at least 69"),
        ({"attribution": "127.0.0.1:7"}, "attribution_signers"),
        ({"operators": ["0x12"]}, "OPERATORS"),
        ({"confirmations": -1}, "CONFIRMATIONS"),
        ({"chain_id": 1}, "confirmations: the newest blocks of chain 1 may be taken back"),
        ({"chain_id": 1, "confirmations": 9, "withdraw_delay_seconds": 4199}, "what a lease sets aside for 4200 s"),
        ({"rpc_witnesses": ["127.0.0.1:8545"]}, "RPC_WITNESSES"),
        ({"unknown": 1}, "UNKNOWN"),
        ({"ether_price": "1e3"}, "ETHER_PRICE"),
        ({"ether_price": "-3000"}, "ETHER_PRICE"),
        ({"signer_url": "http://127.0.0.1:9"}, "signer_url and signer_address go together"),
        ({"signer_address": A}, "signer_url and signer_address go together"),
        ({"signer_url": "kms.example", "signer_address": A}, "SIGNER_URL"),
        ({"signer_url": "http://kms", "signer_address": A, "operator_key_file": "k"}, "not in both"),
        ({"operator_password": "p", "operator_password_file": "f"}, "which one"),
    ),
)
def test_what_is_wrong_is_named(tmp_path, more, words):
    with pytest.raises(ConfigError, match=words):
        LedgerConfig.load(**settings("ledger", tmp_path, rpc_url="http://127.0.0.1:1", platform=A) | more)


def test_contracts_are_made_on_development_chains_alone(tmp_path):
    assert load(tmp_path).may_deploy
    assert not load(tmp_path, chain_id=1, confirmations=12).may_deploy
    assert not load(tmp_path, deploy_contracts=False).may_deploy


@pytest.mark.parametrize(
    "more",
    (
        {"split_lag_seconds": 60},
        {"poll_seconds": 20, "split_lag_seconds": 60},
        {"chain_id": 1, "confirmations": 9, "split_lag_seconds": 69},
        {"chain_id": 1, "confirmations": 9, "split_lag_seconds": 60, "quiet_chain": True},
    ),
)
def test_the_chain_is_looked_at_more_than_once_in_half_of_the_lag(tmp_path, more):
    assert load(tmp_path, **more).split_lag_seconds == more["split_lag_seconds"]


@pytest.mark.parametrize(("chain_id", "told"), ((31337, True), (1337, True), (1, False), (42161, False)))
def test_whether_blocks_come_by_themselves_is_known_by_the_chains_number_unless_it_is_said(tmp_path, chain_id, told):
    assert load(tmp_path, chain_id=chain_id, confirmations=12).quiet is told
    for said in (True, False):
        assert load(tmp_path, chain_id=chain_id, confirmations=12, quiet_chain=said).quiet is said
    with pytest.raises(ConfigError, match="QUIET_CHAIN"):
        load(tmp_path, quiet_chain="at night")


def test_the_chains_address_is_told_where_it_is_harmless(tmp_path):
    assert load(tmp_path).told_rpc_url == "http://127.0.0.1:1"
    assert load(tmp_path, chain_id=1, confirmations=12).told_rpc_url == ""
    told = load(tmp_path, chain_id=1, confirmations=12, public_rpc_url="https://rpc.example").told_rpc_url
    assert told == "https://rpc.example"


def test_where_artifacts_are_is_told_as_a_place_that_can_be_read_from(tmp_path):
    assert load(tmp_path).artifacts_url == ""
    for url in ("https://artifacts.example.org/openledger", "http://127.0.0.1:8000"):
        assert load(tmp_path, artifacts_url=url).artifacts_url == url
    for url in (
        "http://artifacts.example.org",
        "https://me:hunter2@example.org",
        "https://example.org/?a",
        "artifacts",
    ):
        with pytest.raises(ConfigError, match=r"(?i)artifacts_url"):
            load(tmp_path, artifacts_url=url)


def test_what_is_printed_at_the_start_has_no_password(tmp_path):
    config = load(tmp_path, signer_url="http://me:hunter2@kms:9000", signer_address=A)
    assert "hunter2" not in str(config.resolved())
    assert "hunter2" not in str(load(tmp_path, operator_password="hunter2").resolved())
