"""What the list of erased records does to a database that does not know of them, on SQLite and PostgreSQL."""

from __future__ import annotations

import shutil

import pytest
from sqlalchemy import select, update

from services.datanet import erase, store_erasures, store_records
from services.datanet.erase_again import REASON, erase_again
from services.datanet.erased import Erased, ErasedList
from services.datanet.model import RecordState
from services.datanet.tables import CONTENT, ERASURE, KEY, METADATA
from services.datanet.vault import place
from services.kit.operations import Operations
from tests.contract.test_datanet_erasures import ADA, TERMS, database, give, vault

__all__ = ["database", "vault"]
OPERATION = METADATA.tables["operation"]


@pytest.fixture
def listed(tmp_path) -> ErasedList:
    return ErasedList(tmp_path / "erased.jsonl")


@pytest.fixture
def again(database, vault, listed):
    return lambda: erase_again(database, vault, Operations(database, METADATA, "datanet"), listed)


def rows(database, table) -> list:
    return database.read_now(lambda c: c.execute(select(table)).all())


@pytest.mark.parametrize(("told", "owner"), ((erase.BY_CONTRIBUTOR, ADA), (erase.BY_OWNER, TERMS.owner)))
def test_a_record_on_the_list_is_erased_and_its_operation_is_whose_it_was(database, vault, listed, again, told, owner):
    one, two = give(database, vault, "one", "two")
    listed.add(Erased(one.name, told))
    assert again() == 1
    assert [row.record for row in rows(database, CONTENT)] == [row.record for row in rows(database, KEY)] == [two.id]
    assert database.read_now(lambda c: store_records.get(c, "terms", one.id)).state is RecordState.ERASED
    (operation,) = rows(database, OPERATION)
    assert (operation.name, operation.owner, operation.done) == (erase.operation(one), f"accounts/{owner}", False)
    (erasure,) = rows(database, ERASURE)
    assert (erasure.reason, erasure.told) == (REASON, told)
    assert again() == 0


def test_an_erasure_whose_share_is_there_again_is_to_be_done_again(database, vault, listed, again):
    (one,) = give(database, vault, "one")
    (at,) = (place(row.wrapped) for row in rows(database, KEY))
    listed.add(Erased(one.name, erase.BY_OWNER, at))
    assert again() == 1
    database.write_now(lambda c: store_erasures.destroyed(c, one.id))
    database.write_now(lambda c: store_erasures.told(c, one.id, ["a revision"]))
    assert again() == 1, "nobody overwrote the share"
    (pending,) = database.read_now(store_erasures.pending)
    assert (pending.share, pending.destroyed) == (at, False)
    vault.destroy(at)
    database.write_now(lambda c: store_erasures.destroyed(c, one.id))
    database.write_now(lambda c: store_erasures.told(c, one.id, ["a revision"]))
    assert again() == 0


def test_what_the_database_knows_is_put_on_the_list(database, vault, listed, again):
    one, two = give(database, vault, "one", "two")
    for record in (one, two):
        database.write_now(
            lambda c, r=record: store_erasures.begin(c, vault, r, erase.operation(r), 1, reason="", told=erase.BY_OWNER)
        )
    (at,) = (each.share for each in database.read_now(store_erasures.everything) if each.record == two.id)
    vault.destroy(at)
    database.write_now(lambda c: store_erasures.destroyed(c, two.id))
    assert again() == 0
    found = listed.read()
    assert set(found) == {one.name, two.name}
    assert vault.has_share(found[one.name].share)
    assert found[two.name].share == at


@pytest.mark.parametrize("listed_without", (False, True), ids=("gone", "without a place"))
def test_a_list_that_is_made_anew_knows_where_the_shares_were(database, vault, listed, again, tmp_path, listed_without):
    """A copy of the shares that is put back later is overwritten by it."""
    (one,) = give(database, vault, "one")
    (at,) = (place(row.wrapped) for row in rows(database, KEY))
    shutil.copytree(tmp_path / "shares", tmp_path / "copy")
    database.write_now(
        lambda c: store_erasures.begin(c, vault, one, erase.operation(one), 1, reason="", told=erase.BY_OWNER)
    )
    vault.destroy(at)
    database.write_now(lambda c: store_erasures.destroyed(c, one.id))
    database.write_now(lambda c: store_erasures.told(c, one.id, []))
    if listed_without:  # as a version of before made it
        listed.add(Erased(one.name, erase.BY_OWNER))
    assert again() == 0
    assert listed.read()[one.name].share == at
    shutil.rmtree(tmp_path / "shares")
    shutil.copytree(tmp_path / "copy", tmp_path / "shares")
    assert again() == 1
    (pending,) = database.read_now(store_erasures.pending)
    assert (pending.share, pending.destroyed) == (at, False)


def test_what_a_version_of_before_overwrote_is_destroyed_and_its_place_unknown(database, vault, listed, again):
    (one,) = give(database, vault, "one")
    database.write_now(
        lambda c: store_erasures.begin(c, vault, one, erase.operation(one), 1, reason="", told=erase.BY_OWNER)
    )
    database.write_now(lambda c: c.execute(update(ERASURE).values(share=None)))
    (known,) = database.read_now(store_erasures.everything)
    assert (known.share, known.destroyed) == (b"", True)
    assert again() == 0


@pytest.mark.parametrize("name", ("datanets/terms/records/none", "datanets/none/records/none"))
def test_a_record_that_is_not_there_is_nothing_to_do(database, vault, listed, again, name):
    give(database, vault, "one")
    listed.add(Erased(name, erase.BY_OWNER))
    assert again() == 0
    assert len(rows(database, CONTENT)) == 1
