"""Records in the database: taken in whole uploads at a time, first author first."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, func, insert, or_, select, update

from services.datanet import declare, sealing, store, store_alike, store_likeness, store_screenings
from services.datanet.declare import Declaration
from services.datanet.likeness import Text
from services.datanet.model import Content, Datanet, Record, RecordState, record_name
from services.datanet.store_alike import Earlier, Looked
from services.datanet.tables import CONTENT, DATANET, DECLARATION, FIRST, KEY, RECORD
from services.datanet.upload import Candidate
from services.datanet.vault import Sealed, Unopened, Vault
from services.kit import logs
from services.kit.errors import invalid, not_found

_CHUNK = 400
ROWS = select(
    RECORD.c.id,
    RECORD.c.datanet,
    RECORD.c.number,
    RECORD.c.contributor,
    RECORD.c.licence,
    RECORD.c.commitment,
    RECORD.c.size,
    RECORD.c.create_time,
    RECORD.c.state,
    RECORD.c.state_time,
    RECORD.c.state_message,
)
"""Records without their contents."""


def take(
    connection: Connection, declaration: Declaration, candidates: Sequence[Candidate], now: int, confirmation: str = ""
) -> dict[int, str]:
    """Take an upload's candidates in.  Returns, by index, the name of the record that says it first.

    All that comes in comes in here: what decides about duplicates, decides here.  confirmation: the request, where they
    are what was suggested for records that waited.

    A candidate whose own name stands there was accepted, or waits; any other is a duplicate of the record named.
    """
    # Locks are taken in one order, likeness, fingerprints sorted, the datanet: uploads never wait in a ring.
    store_likeness.hold(connection)
    owners = _claim(connection, candidates)
    datanet = store.locked(connection, declaration.datanet)
    declare.check_licence(declaration, datanet)
    accepted = [c for c in candidates if owners[c.fingerprint] == c.name]
    # A word about nothing that came in proves nothing, and its root follows from what is not to be kept.
    declared(connection, declaration if accepted else replace(declaration, content_root=b"", signature=b""), now)
    if accepted:
        _add(connection, datanet, declaration, accepted, now, confirmation)
    return {c.index: owners[c.fingerprint] for c in candidates}


def declared(connection: Connection, declaration: Declaration, now: int) -> None:
    """Keep a contributor's word.  Raises `Fault` when another one has its request id."""
    row = asdict(declaration) | {"create_time": now}
    new = store.insert_new(connection, DECLARATION).values(row).returning(DECLARATION.c.request_id)
    if connection.execute(new).first() is None:
        said = f"request_id {declaration.request_id} was used for another declaration before; take a new one"
        raise invalid("REQUEST_ID_REUSED", said, "request_id", request_id=declaration.request_id)


def read_alike(
    connection: Connection,
    vault: Vault,
    declaration: Declaration,
    candidates: Sequence[Candidate],
    looked: Looked | None,
) -> dict[int, Earlier]:
    """Of candidates that are not taken, by index, the record of somebody else's that they read like.

    looked: what they were found to be like before; None where the datanet's owner did not ask for that, and then none
    are: to compare them with all that is there would take long, and everybody waits.

    What reads the same as an earlier record is `take`'s to say, in the same transaction, which is taken back where the
    owner asks for something else by now (`admit.check_current`).  Raises `MuchCame`.
    """
    store_likeness.hold(connection)
    if looked is None:
        return {}
    known: set[bytes] = set()
    for chunk in _chunks([c.fingerprint for c in candidates]):
        known.update(connection.execute(select(FIRST.c.fingerprint).where(FIRST.c.fingerprint.in_(chunk))).scalars())
    new = {c.id: c for c in candidates if c.fingerprint not in known}
    texts, who = [c.text for c in new.values()], declaration.contributor
    found = store_alike.earlier(connection, vault, who, declaration.datanet, texts, looked)
    return {new[record].index: first for record, first in found.items()}


def reads_like(
    connection: Connection, vault: Vault, declaration: Declaration, text: Text, looked: Looked | None
) -> Earlier | None:
    """The record of somebody else's that one reads like which waited; as `read_alike`."""
    store_likeness.hold(connection)
    if looked is None:
        return None
    who, datanet = declaration.contributor, declaration.datanet
    return store_alike.earlier(connection, vault, who, datanet, [text], looked).get(text.record)


def _claim(connection: Connection, candidates: Sequence[Candidate]) -> dict[bytes, str]:
    """Who says each thing first: an earlier record, or the first of these candidates, written down as such."""
    firsts: dict[bytes, str] = {}
    for candidate in candidates:
        firsts.setdefault(candidate.fingerprint, candidate.name)
    owners: dict[bytes, str] = {}
    for chunk in _chunks(sorted(firsts)):
        # Whose row was there, and is not when it is read, was erased in between: then it is free.
        while unclaimed := [key for key in chunk if key not in owners]:
            rows = [{"fingerprint": key, "record": firsts[key]} for key in unclaimed]
            new = store.insert_new(connection, FIRST).values(rows).returning(FIRST.c.fingerprint)
            mine = {row.fingerprint for row in connection.execute(new)}
            owners.update((key, firsts[key]) for key in mine)
            others = [key for key in unclaimed if key not in mine]
            found = connection.execute(select(FIRST).where(FIRST.c.fingerprint.in_(others)))
            owners.update((row.fingerprint, row.record) for row in found)
    return owners


def _add(
    connection: Connection,
    datanet: Datanet,
    declaration: Declaration,
    accepted: Sequence[Candidate],
    now: int,
    confirmation: str,
) -> None:
    """Number the accepted records on from the datanet's last, and count those that do not wait.

    The datanet must be locked.
    """
    last, count = given(connection, datanet.id), sum(not c.waits for c in accepted)
    newcomer = count > 0 and not has_accepted(connection, datanet.id, declaration.contributor)
    common = {
        "datanet": datanet.id,
        "contributor": declaration.contributor,
        "request_id": declaration.request_id,
        "licence": declaration.licence,
        "create_time": now,
    }
    rows = [
        {**common, "id": c.id, "number": number, "commitment": c.commitment, "size": c.size, "state": _state(c)}
        for number, c in enumerate(accepted, last + 1)
    ]
    connection.execute(insert(RECORD), rows)
    connection.execute(insert(CONTENT), [{"record": c.id, "ciphertext": c.sealed.ciphertext} for c in accepted])
    connection.execute(insert(KEY), [{"record": c.id, "wrapped": c.sealed.wrapped} for c in accepted])
    # What waits has not come in yet: else who parks a text for ever would be first over whoever says it meanwhile.
    came = store_likeness.moment(connection, now)
    store_likeness.add(connection, [(came, c.text) for c in accepted if not c.waits])
    store_screenings.keep(connection, accepted, confirmation)
    _count(connection, datanet.id, count, newcomer)


def accept(connection: Connection, vault: Vault, record: Record, text: Text, now: int) -> Record:
    """A record that waited, accepted: numbered on from the datanet's last, and counted; now it has come in.

    text: what it is like.  Likeness must be held, and its datanet locked.
    """
    wrapped = connection.execute(select(KEY.c.wrapped).where(KEY.c.record == record.id)).scalar_one()
    store_likeness.add(connection, [(store_likeness.moment(connection, now), sealing.boxed(vault, text, wrapped))])
    newcomer = not has_accepted(connection, record.datanet, record.contributor)
    number = given(connection, record.datanet) + 1
    values = {"state": RecordState.ACCEPTED, "state_time": now, "number": number}
    connection.execute(update(RECORD).where(RECORD.c.id == record.id).values(values))
    _count(connection, record.datanet, 1, newcomer)
    return replace(record, state=RecordState.ACCEPTED, state_time=now, number=number)


def _state(candidate: Candidate) -> RecordState:
    return RecordState.SCREENED if candidate.waits else RecordState.ACCEPTED


def _count(connection: Connection, datanet: str, records: int, newcomer: bool) -> None:
    counts = {
        "record_count": DATANET.c.record_count + records,
        "contributor_count": DATANET.c.contributor_count + int(newcomer),
    }
    connection.execute(update(DATANET).where(DATANET.c.id == datanet).values(counts))


def given(connection: Connection, datanet: str) -> int:
    """How many records a datanet was ever given, those that ended included; one that waited may count twice."""
    query = select(func.max(RECORD.c.number)).where(RECORD.c.datanet == datanet)
    return int(connection.execute(query).scalar() or 0)


def has_accepted(connection: Connection, datanet: str, contributor: str) -> bool:
    """Whether an account has an accepted record in a datanet."""
    mine = (RECORD.c.datanet == datanet, RECORD.c.contributor == contributor, RECORD.c.state == RecordState.ACCEPTED)
    return connection.execute(select(RECORD.c.id).where(*mine).limit(1)).first() is not None


def move(connection: Connection, record: Record, state: RecordState, message: str, now: int) -> Record:
    """The record in another state; one that was accepted counts no more.  Its datanet must be locked."""
    moved = replace(record, state=state, state_time=now, state_message=message)
    values = {"state": state, "state_time": now, "state_message": message}
    connection.execute(update(RECORD).where(RECORD.c.id == record.id).values(values))
    if record.state is RecordState.ACCEPTED:
        was_its_last = not has_accepted(connection, record.datanet, record.contributor)
        counts = {
            "record_count": DATANET.c.record_count - 1,
            "contributor_count": DATANET.c.contributor_count - int(was_its_last),
        }
        connection.execute(update(DATANET).where(DATANET.c.id == record.datanet).values(counts))
    return moved


def get(connection: Connection, datanet: str, record: str, viewer: str | None = None) -> Record:
    """Without its content.  viewer: the address that it is for, which sees none of others' that wait.

    Raises `Fault` when there is none of that name.
    """
    row = connection.execute(ROWS.where(RECORD.c.id == record, RECORD.c.datanet == datanet)).first()
    waits = row is not None and row.state == RecordState.SCREENED
    if row is None or (waits and viewer is not None and viewer != row.contributor):
        raise not_found("RECORD_NOT_FOUND", f"there is no {record_name(datanet, record)}")
    return of_row(row)


def datanets_of(connection: Connection, records: Collection[str]) -> dict[str, str]:
    """Of records, by id, the datanets' ids, in the order in which they came."""
    query = select(RECORD.c.id, RECORD.c.datanet).order_by(RECORD.c.create_time, RECORD.c.number)
    rows = (row for chunk in _chunks(list(records)) for row in connection.execute(query.where(RECORD.c.id.in_(chunk))))
    return {row.id: row.datanet for row in rows}


def others_that_wait(connection: Connection, names_: Collection[str], viewer: str) -> set[str]:
    """Of records by name, those that wait for another's word than that of the account of this address."""
    ids = {name.rpartition("/")[2]: name for name in names_}
    query = select(RECORD.c.id).where(RECORD.c.state == RecordState.SCREENED, RECORD.c.contributor != viewer)
    return {
        ids[record]
        for chunk in _chunks(list(ids))
        for record in connection.execute(query.where(RECORD.c.id.in_(chunk))).scalars()
    }


def of_row(row: Any) -> Record:
    """Of a row of `ROWS`."""
    said = {name: getattr(row, name) for name in Record.__dataclass_fields__}
    return Record(**(said | {"state": RecordState(row.state)}))


def page(
    connection: Connection, datanet: str, contributor: str, after: int, limit: int, viewer: str = ""
) -> list[Record]:
    """Records without contents, in the order of acceptance, after that number; of one contributor if named.

    viewer: the address that sees its own records which wait; nobody sees others'.
    """
    shown = or_(RECORD.c.state != RecordState.SCREENED, RECORD.c.contributor == viewer)
    query = ROWS.where(RECORD.c.datanet == datanet, RECORD.c.number > after, shown)
    query = query.order_by(RECORD.c.number).limit(limit)
    if contributor:
        query = query.where(RECORD.c.contributor == contributor)
    return [of_row(row) for row in connection.execute(query)]


def contents(connection: Connection, vault: Vault, records: Collection[str]) -> dict[str, Content]:
    """What records say, by id; without those that nobody can open, which the log tells of."""
    found: dict[str, Content] = {}
    unopened: dict[str, str] = {}
    boxes = select(CONTENT.c.record, CONTENT.c.ciphertext, KEY.c.wrapped).join(KEY, KEY.c.record == CONTENT.c.record)
    for chunk in _chunks(list(records)):
        for row in connection.execute(boxes.where(CONTENT.c.record.in_(chunk))):
            try:
                found[row.record] = sealing.unseal(vault, row.record, Sealed(row.ciphertext, row.wrapped))
            except Unopened as problem:
                unopened[row.record] = str(problem)
    if unopened:
        record, why = next(iter(unopened.items()))
        logs.logger("datanet").warning("records do not open", count=len(unopened), one_of_them=record, error=why)
    return found


def texts(
    connection: Connection, vault: Vault, datanet: str, contributor: str, after: int, viewer: str = ""
) -> Iterator[tuple[Record, Content]]:
    """What `page` finds, with what it says."""
    while rows := page(connection, datanet, contributor, after, _CHUNK // 4, viewer):
        said = contents(connection, vault, [record.id for record in rows])
        yield from ((record, said[record.id]) for record in rows if record.id in said)
        after = rows[-1].number


def _chunks(items: Sequence[Any]) -> list[Sequence[Any]]:
    """Pieces that fit into one statement's parameters."""
    return [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
