"""What OpenLoRA may be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from openledger.money import MAX_AMOUNT, Price
from services.kit.config import ConfigError
from services.kit.testing import settings
from services.openlora.config import OpenLoRAConfig


def load(folder: Path, **more: object) -> OpenLoRAConfig:
    return OpenLoRAConfig.load(**settings("openlora", folder, ledger="127.0.0.1:1", **more))


def test_amounts_keep_every_unit_and_the_engine_gets_room_for_the_longest_prompt_and_answer(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENLEDGER_OPENLORA_PRICE_PER_1K_IN", "200000000000000001")
    config = load(tmp_path, price_per_1k_out=3, platform_fee=5, max_prompt_tokens=100, max_tokens=28)
    assert config.price_list.of("base") == Price(200000000000000001, 3, 5)
    assert config.engine_settings.context == 128


def test_models_have_prices_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv(
        "OPENLEDGER_OPENLORA_PRICES", '{"adapters/tiny": {"per_1k_in": 100000000000000000001, "per_1k_out": 2}}'
    )
    config = load(tmp_path, platform_fee=5)
    assert config.price_list.of("adapters/tiny/revisions/1") == Price(100000000000000000001, 2, 5)
    assert config.resolved()["prices"]


@pytest.mark.parametrize(
    ("running", "said", "spare"), ((16, None, 8), (5, None, 3), (1, None, 1), (16, 2, 2), (16, 0, 0))
)
def test_half_as_many_turns_are_spare_unless_it_is_said_otherwise(tmp_path, running, said, spare):
    config = load(tmp_path, max_running=running, **({} if said is None else {"spare_turns": said}))
    assert config.bounds.spare == spare
    assert config.engine_settings.max_running == config.bounds.running_per_tenant == running + spare


def test_how_much_of_prompts_is_read_at_once_is_a_setting(tmp_path, monkeypatch):
    assert load(tmp_path).bounds.reading == 64
    monkeypatch.setenv("OPENLEDGER_OPENLORA_READING_TOKENS", "4096")
    assert load(tmp_path).bounds.reading == 4096


@pytest.mark.parametrize(
    ("wrong", "words"),
    (
        ({"ledger": ""}, "LEDGER"),
        ({"engine": "abacus"}, "ENGINE"),
        ({"replica": "a.b"}, "REPLICA"),
        ({"replica": "openlora-"}, "REPLICA"),
        ({"replica": "x" * 64}, "REPLICA"),
        ({"price_per_1k_in": -1}, "PRICE_PER_1K_IN"),
        ({"spare_turns": -1}, "SPARE_TURNS"),
        ({"reading_tokens": 0}, "READING_TOKENS"),
        ({"price_per_1k_out": MAX_AMOUNT, "max_tokens": 2000}, "more than there can be"),
        ({"prices": {"adapters/a": {"per_1k_in": 0, "per_1k_out": MAX_AMOUNT}}}, "more than there can be"),
        ({"prices": {"tiny": {"per_1k_in": 0, "per_1k_out": 1}}}, "is no model"),
        ({"prices": {"base": {"per_1k_in": 0}}}, "PRICES"),
        ({"max_rpc_seconds": 300}, "max_rpc_seconds must be more than max_answer_seconds"),
        ({"dtype": "float8"}, "DTYPE"),
        ({"engine": "transformers", "dtype": "bfloat16"}, "computes in float32: take vllm"),
        ({"max_active_adapters": 9, "max_adapters": 8}, "max_active_adapters is more than max_adapters"),
    ),
)
def test_what_cannot_be_is_refused_by_name(tmp_path, wrong, words):
    with pytest.raises(ConfigError, match=words):
        OpenLoRAConfig.load(**settings("openlora", tmp_path, **({"ledger": "127.0.0.1:1"} | wrong)))
