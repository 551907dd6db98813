from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor

from openledger.cli.demo.state import State
from openledger.cli.installation import SERVICES, Installation


def test_making_it_again_keeps_every_key(tmp_path):
    installation = Installation(tmp_path / "here")
    installation.make()
    before = {p.name: p.read_text() for p in (tmp_path / "here" / "keys").iterdir()}
    installation.make()
    assert {p.name: p.read_text() for p in (tmp_path / "here" / "keys").iterdir()} == before
    assert {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "here" / "keys").iterdir()} == {0o600}


def test_two_that_make_it_at_once_have_the_same_keys(tmp_path):
    def make(_: int) -> list[str]:
        installation = Installation(tmp_path / "here")
        installation.make()
        return [installation.wallet(name).address for name in ("operator", "treasury", "attribution", "platform")]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(make, range(4)))
    assert found == [found[0]] * 4


def test_every_service_is_told_of_its_own_port_and_the_shared_secret(tmp_path):
    installation = Installation(tmp_path, first_port=9000)
    installation.make()
    ports = {installation.environment(s)[f"OPENLEDGER_{s.upper()}_LISTEN"] for s in SERVICES}
    assert ports == {f"127.0.0.1:{p}" for p in range(9001, 9006)}
    secrets = {installation.environment(s)[f"OPENLEDGER_{s.upper()}_SERVICE_SECRET"] for s in SERVICES}
    assert len(secrets) == 1


def test_further_replicas_have_names_folders_and_ports_and_attribution_is_told_of_all(tmp_path):
    installation = Installation(tmp_path, first_port=9000, replicas=3)
    installation.make()
    named = {process.name: process for wave in installation.waves() for process in wave}
    assert [name for name in named if "openlora" in name] == ["openlora", "openlora-2", "openlora-3"]
    told = {name: named[name].environment for name in installation.openloras}
    assert [env.get("OPENLEDGER_OPENLORA_REPLICA", "") for env in told.values()] == ["", "2", "3"]
    assert len({env["OPENLEDGER_OPENLORA_DATA_DIR"] for env in told.values()}) == 3
    assert len({process.command for name, process in named.items() if "openlora" in name}) == 1
    ports = [port for process in named.values() for port in process.ports]
    assert len(set(ports)) == len(ports)
    listen = ",".join(env["OPENLEDGER_OPENLORA_LISTEN"] for env in told.values())
    assert named["attribution"].environment["OPENLEDGER_ATTRIBUTION_OPENLORA"] == listen


def test_commands_show_no_secret(tmp_path):
    installation = Installation(tmp_path)
    installation.make()
    words = " ".join(word for wave in installation.waves() for process in wave for word in process.command)
    for key in (tmp_path / "keys").iterdir():
        assert key.read_text() not in words


def test_the_demo_remembers_its_people_and_its_run(tmp_path):
    state = State.load(tmp_path / "demo.json")
    payer, asked, tuned = state.wallet("payer"), state.request_id("ask/1"), state.request_id("tune", once=True)
    again = State.load(tmp_path / "demo.json")
    assert again.wallet("payer") == payer
    assert again.request_id("ask/1") == asked
    again.finish_run()
    later = State.load(tmp_path / "demo.json")
    assert later.request_id("ask/1") != asked
    assert later.request_id("tune", once=True) == tuned
    assert stat.S_IMODE((tmp_path / "demo.json").stat().st_mode) == 0o600
