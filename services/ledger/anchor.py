"""Snapshots' roots on their way to the DatanetRegistry, for the Datanet."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from openledger import names
from openledger.ledger.v1 import ledger_pb2
from services.kit.errors import Fault, invalid, precondition
from services.ledger import calls
from services.ledger.chain import Call, Chain
from services.ledger.store import epochs
from services.ledger.store.chain import Transaction
from services.ledger.store.epochs import Anchoring

MAX_RECORDS = 2**63 - 1


def read(snapshot: str, root: bytes, records: int) -> Anchoring:
    """What is to be anchored.  Raises `Fault` for what the registry would not take."""
    place(snapshot)
    if len(root) != 32 or not any(root):
        raise invalid("BAD_ROOT", "root: must be 32 bytes, and not all zero", "root")
    if not 0 < records <= MAX_RECORDS:
        raise invalid("BAD_RECORD_COUNT", f"record_count: {records} is not a number of records", "record_count")
    return Anchoring(snapshot, root.hex(), records, operation="")


def place(snapshot: str, field: str = "snapshot") -> tuple[str, int]:
    """A snapshot's datanet, by resource name, and version.  Raises `Fault` where the registry has no such place."""
    datanet, version = names.match("datanets/*/snapshots/*", snapshot)
    if not version.isdecimal() or str(int(version)) != version or not 0 < int(version) < 2**63:
        raise invalid("BAD_SNAPSHOT", f"{field}: {version!r} is not a version: whole numbers from 1", field)
    return f"datanets/{datanet}", int(version)


class Anchors:
    """The kind of errand (`services.ledger.errands.Kind`)."""

    name = "anchor"

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def key(self, anchoring: Anchoring) -> str:
        return f"anchor:{anchoring.snapshot}"

    def add(self, connection: Connection, anchoring: Anchoring, operation: str) -> bool:
        return epochs.new_anchoring(connection, replace(anchoring, operation=operation))

    def known(self, connection: Connection, anchoring: Anchoring) -> Anchoring:
        known = epochs.anchoring(connection, anchoring.snapshot)
        assert known is not None
        if (known.root, known.records) != (anchoring.root, anchoring.records):
            raise precondition(
                "ALREADY_ANCHORED",
                f"{known.snapshot} was anchored with root {known.root} over {known.records} records; a snapshot does "
                "not change: cut a new one",
                root=known.root,
            )
        return known

    def waiting(self, connection: Connection) -> list[Anchoring]:
        return epochs.open_anchorings(connection)

    def call(self, anchoring: Anchoring) -> Call:
        datanet, version = place(anchoring.snapshot)
        root = bytes.fromhex(anchoring.root)
        return calls.commit_snapshot(
            self._chain.contracts, datanet, version, root, anchoring.records, anchoring.snapshot
        )

    def result(self, anchoring: Anchoring, transaction: Transaction | None) -> ledger_pb2.Anchoring | None:
        found = self._chain.snapshot(*place(anchoring.snapshot))
        if found is None or found.root.hex() != anchoring.root:
            return None
        result = self.about(anchoring)
        if transaction is not None:
            result.transaction, result.block = transaction.hash, transaction.block
        return result

    def about(self, anchoring: Anchoring) -> ledger_pb2.Anchoring:
        contract = self._chain.contracts.registry
        return ledger_pb2.Anchoring(snapshot=anchoring.snapshot, chain_id=self._chain.chain_id, contract=contract)

    def end(self, connection: Connection, anchoring: Anchoring) -> None:
        epochs.end_anchoring(connection, anchoring.snapshot)

    def drop(self, connection: Connection, anchoring: Anchoring) -> None:
        epochs.drop_anchoring(connection, anchoring.snapshot)

    def refused(self, anchoring: Anchoring, error: str) -> Fault:
        return precondition(
            "ANCHORING_REFUSED",
            f"the registry does not take the root of {anchoring.snapshot}: {error or 'it holds another one'}",
            snapshot=anchoring.snapshot,
        )
