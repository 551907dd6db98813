"""What checks found in records, in the database, and by which word of their contributors those that waited came in.

A record that nothing looked at has no row here.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict

from sqlalchemy import Connection, delete, insert, select, update

from openledger import names
from services.datanet.model import Record
from services.datanet.screen import Finding
from services.datanet.tables import DECLARATION, METADATA, SCREENING
from services.datanet.upload import Candidate

CONFIRM = "ConfirmRecord"
_IDEMPOTENCY = METADATA.tables["idempotency"]


def keep(connection: Connection, candidates: Sequence[Candidate], confirmation: str = "") -> None:
    """Keep what was found.  confirmation: the request that gives them, where they are such as were suggested."""
    rows = [
        {"record": c.id, "findings": _dumped(c.findings), "confirmation": confirmation}
        for c in candidates
        if c.findings or confirmation
    ]
    if rows:
        connection.execute(insert(SCREENING), rows)


def confirmed(connection: Connection, record: str, request_id: str, now: Sequence[Finding]) -> tuple[Finding, ...]:
    """Note by which request a record was confirmed, and what was found in it then, which is returned.

    What a check found stays, where it was not asked again.
    """
    kept = findings(connection, [record])[record]
    found = tuple({finding.check: finding for finding in (*kept, *now)}.values())
    values = {"confirmation": request_id, "findings": _dumped(found)}
    connection.execute(update(SCREENING).where(SCREENING.c.record == record).values(values))
    return found


def findings(connection: Connection, records: Collection[str]) -> dict[str, tuple[Finding, ...]]:
    """Of records that were looked at, by id."""
    query = select(SCREENING.c.record, SCREENING.c.findings).where(SCREENING.c.record.in_(list(records)))
    return {
        row.record: tuple(Finding(**said) for said in json.loads(row.findings)) for row in connection.execute(query)
    }


def forget(connection: Connection, record: Record) -> None:
    """Delete what was found in a record; of its contributor's word on it, what follows from its text."""
    mine = SCREENING.c.record == record.id
    confirmation = connection.execute(select(SCREENING.c.confirmation).where(mine)).scalar()
    connection.execute(delete(SCREENING).where(mine))
    if not confirmation:
        return
    this = (DECLARATION.c.contributor == record.contributor, DECLARATION.c.request_id == confirmation)
    connection.execute(update(DECLARATION).where(*this).values(content_root=b"", signature=b""))
    kept = (
        _IDEMPOTENCY.c.caller == names.account(record.contributor),
        _IDEMPOTENCY.c.method == CONFIRM,
        _IDEMPOTENCY.c.request_id == confirmation,
    )
    connection.execute(update(_IDEMPOTENCY).where(*kept).values(request_sha256=b"", response=b""))


def _dumped(found: Sequence[Finding]) -> str:
    """Without suggestions, which say what the record says."""
    said = [asdict(finding) for finding in found]
    return json.dumps([{name: value for name, value in one.items() if name != "suggestion"} for one in said])
