"""The verb "erase again": what was erased stays so when the database, or the shares, were put back from a copy.

Before the service serves, the list of erased records is compared with both.  A record that the database takes for one
that is there is erased as it was the first time; an erasure whose share is there again is begun anew, so that the share
is overwritten, and those who train are told again.  What the list lacks of the database's erasures is added to it.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from openledger import names
from services.datanet import erase, store, store_erasures, store_records
from services.datanet.answers import now
from services.datanet.erased import Erased, ErasedList
from services.datanet.model import RecordState
from services.datanet.vault import Vault
from services.kit import logs
from services.kit.database import Database
from services.kit.errors import Fault
from services.kit.operations import Operations

REASON = "it had been erased before the database was put back from a copy"


def erase_again(database: Database, vault: Vault, operations: Operations, listed: ErasedList) -> int:
    """Returns how many records that were.  Again does no harm.  Raises `OSError` where the list cannot be used."""
    known = listed.read()
    erasures = {each.name: each for each in database.read_now(store_erasures.everything)}
    lacking = {
        each.name: Erased(each.name, each.told, each.share)
        for each in erasures.values()
        if each.name not in known or (each.share and not known[each.name].share)
    }
    listed.add(*lacking.values())
    known |= lacking
    back = [each for each in known.values() if each.record not in erasures]
    begun = sum(database.write_now(lambda c, e=each: _begin(c, vault, operations, e)) for each in back)  # type: ignore[misc]
    done = {name for name, each in erasures.items() if each.destroyed}
    open_again = [each for each in known.values() if each.record in done and vault.has_share(each.share)]
    database.write_now(lambda c: _anew(c, open_again))
    if begun or open_again:
        logs.logger("datanet").warning("erased again", records=begun, shares=len(open_again))
    return begun + len(open_again)


def _begin(connection: Connection, vault: Vault, operations: Operations, erased: Erased) -> bool:
    """False where the database has no such record: then there is nothing in it that opens."""
    datanet, record_id = names.match("datanets/*/records/*", erased.record)
    try:
        owner = store.locked(connection, datanet).owner
        record = store_records.get(connection, datanet, record_id)
    except Fault:
        return False
    if record.state is RecordState.ERASED:  # another process was first
        return False
    name = erase.operation(record)
    store_erasures.begin(connection, vault, record, name, now(), reason=REASON, told=erased.told)
    caller = record.contributor if erased.told == erase.BY_CONTRIBUTOR else owner
    operations.create(connection, name, names.account(caller), erase.progress(record.name, erase.DESTROYING))
    return True


def _anew(connection: Connection, erased: Iterable[Erased]) -> None:
    for each in erased:
        store_erasures.anew(connection, each.record.rpartition("/")[2], each.share)
