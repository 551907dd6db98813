"""The step that brings a database up to date before a service's new version starts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import inspect, text

from services.kit.database import Database
from services.kit.migrate import main

SERVICES = ("attribution", "datanet", "factory", "ledger", "openlora")


@pytest.mark.parametrize("service", SERVICES)
def test_each_services_database_is_brought_up_to_date_and_stays_so(database_url, service, capsys):
    setting = {f"OPENLEDGER_{service.upper()}_DATABASE_URL": database_url}
    for _ in range(2):
        assert main([service], setting) == 0
        assert capsys.readouterr().err == f"{service}: its database is up to date\n"
    database = Database(database_url)
    assert len(database.read_now(lambda c: inspect(c).get_table_names())) > 2
    database.close()


def test_replicas_that_start_together_do_not_meet_halfway(database_url):
    def migrate(_: int) -> int:
        return main(["ledger"], {"OPENLEDGER_LEDGER_DATABASE_URL": database_url})

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(migrate, range(4))) == [0, 0, 0, 0]


def test_a_schema_that_is_newer_than_the_code_is_left_alone(database_url, capsys):
    setting = {"OPENLEDGER_FACTORY_DATABASE_URL": database_url}
    assert main(["factory"], setting) == 0
    database = Database(database_url)
    database.write_now(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    assert main(["factory"], setting) == 3
    assert "schema 9999, newer than this version of the code knows" in capsys.readouterr().err
    assert database.read_now(lambda c: c.execute(text("SELECT version_num FROM alembic_version")).scalar()) == "9999"
    database.close()


def test_a_database_that_is_not_there_is_said_in_one_line_without_the_password(capsys):
    url = "postgresql://me:secret@127.0.0.1:1/x"
    assert main(["ledger"], {"OPENLEDGER_LEDGER_DATABASE_URL": url}) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("ledger: its database postgresql://me:***@127.0.0.1:1/x cannot be used:")


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    (
        ([], {}, "{attribution,datanet,factory,ledger,openlora}"),
        (["kit"], {}, "{attribution,datanet,factory,ledger,openlora}"),
        (["../ledger"], {}, "{attribution,datanet,factory,ledger,openlora}"),
        (["ledger", "datanet"], {}, "{attribution,datanet,factory,ledger,openlora}"),
        (["ledger"], {}, "OPENLEDGER_LEDGER_DATABASE_URL must name a database"),
        (["ledger"], {"OPENLEDGER_DATANET_DATABASE_URL": "sqlite://"}, "OPENLEDGER_LEDGER_DATABASE_URL must name"),
        (["ledger"], {"OPENLEDGER_LEDGER_DATABASE_URL": "mysql://there/x"}, "must name a database"),
        (["ledger"], {"OPENLEDGER_LEDGER_DATABASE_URL": "a database"}, "must name a database"),
    ),
)
def test_what_cannot_be_understood_is_said(arguments, environment, says, capsys):
    assert main(arguments, environment) == 2
    assert says in capsys.readouterr().err
