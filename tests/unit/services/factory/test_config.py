from __future__ import annotations

import json

import pytest

from openledger.cli.demo import hpo
from services.factory.config import FactoryConfig
from services.factory.licence import Source, Use, combine
from services.kit.config import ConfigError
from services.kit.testing import settings


def test_the_environment_names_several_bases(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENLEDGER_FACTORY_BASES", "smollm2-135m-instruct, /models/tiny")
    config = FactoryConfig.load(**settings("factory", tmp_path), datanet="127.0.0.1:7402")
    assert config.bases == ("smollm2-135m-instruct", "/models/tiny")
    assert config.executor_root == tmp_path / "factory" / "executor"


@pytest.mark.parametrize(
    ("wrong", "setting"),
    (
        ({"bases": " , "}, "BASES"),
        ({"datanet": "nowhere"}, "DATANET"),
        ({"threads": 0}, "THREADS"),
        ({"max_seconds": 0}, "MAX_SECONDS"),
        ({"executor": "slurm"}, "EXECUTOR"),
        ({"worker_memory_mib": 1}, "WORKER_MEMORY_MIB"),
    ),
)
def test_a_wrong_setting_is_named(tmp_path, wrong, setting):
    with pytest.raises(ConfigError, match=f"OPENLEDGER_FACTORY_{setting}"):
        FactoryConfig.load(**({**settings("factory", tmp_path), "datanet": "127.0.0.1:7402"} | wrong))


def test_a_factory_without_a_datanet_does_not_start(tmp_path):
    with pytest.raises(ConfigError, match="OPENLEDGER_FACTORY_DATANET"):
        FactoryConfig.load(**settings("factory", tmp_path))


def test_an_operator_says_what_licences_of_ones_own_ask(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENLEDGER_FACTORY_LICENCES", '{"LicenseRef-Ours": {"derivatives": true, "commercial": false}}')
    config = FactoryConfig.load(**settings("factory", tmp_path), datanet="127.0.0.1:7402")
    terms = config.licence_terms["LicenseRef-Ours"]
    assert (terms.derivatives, terms.commercial, terms.attribution, terms.results) == (True, False, True, None)


@pytest.mark.parametrize(
    "said",
    (
        {"CC-BY-ND-4.0": {"derivatives": True, "commercial": True}},
        {"LicenseRef-Ours": {"derivatives": True}},
        {"LicenseRef-Ours": {"derivatives": True, "commercial": True, "colour": "red"}},
    ),
)
def test_what_nobody_may_say_of_a_licence_is_refused(tmp_path, said):
    with pytest.raises(ConfigError, match="LICENCES"):
        FactoryConfig.load(**settings("factory", tmp_path), datanet="127.0.0.1:7402", licences=said)


def test_the_demos_data_pass_the_gate_by_what_the_demo_says_of_their_licence(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENLEDGER_FACTORY_LICENCES", json.dumps({hpo.LICENCE: hpo.TERMS}))
    config = FactoryConfig.load(**settings("factory", tmp_path), datanet="127.0.0.1:7402")
    sources = [Source("baseModels/smollm2-135m-instruct", "Apache-2.0"), Source("datanets/x", hpo.LICENCE, 160)]
    assert combine(sources, Use.COMMERCIAL, config.licence_terms).licence == "Apache-2.0 AND LicenseRef-HPO"


@pytest.mark.parametrize(
    ("executor", "threads", "expected"), (("local", 8, 1), ("local", 4, 2), ("local", 2, 3), ("ray:auto", 8, 3))
)
def test_no_more_is_promised_to_run_at_once_than_there_are_cores_for(
    tmp_path, monkeypatch, executor, threads, expected
):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    given = {"datanet": "127.0.0.1:1", "executor": executor, "threads": threads, "retrainings_at_once": 3}
    assert FactoryConfig(**settings("factory", tmp_path, **given)).at_once == expected
