"""Adapter revisions on their way to the ModelRegistry, for the Factory; and what the chain says of one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection

from openledger import abi, names
from openledger.ledger.v1 import ledger_pb2
from services.kit.database import Database
from services.kit.errors import Fault, invalid, not_found, precondition, unavailable
from services.ledger import calls, wire
from services.ledger.anchor import place
from services.ledger.chain import Call, Chain, ChainUnavailable, NodeRefused
from services.ledger.registries import Lineage, Split
from services.ledger.store import chain as transactions
from services.ledger.store import registrations
from services.ledger.store.chain import State, Transaction
from services.ledger.store.registrations import Registration

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


def read(request: ledger_pb2.RegisterRevisionRequest, split: Split) -> Registration:
    """What is to be registered, with the split that it begins with.  Raises `Fault` for what no registry would take."""
    digest = digest_of(request.revision)
    snapshots = tuple((snapshot.snapshot, snapshot.root) for snapshot in request.snapshots)
    for number, (snapshot, root) in enumerate(snapshots):
        place(snapshot, f"snapshots[{number}].snapshot")
        _not_zero(f"snapshots[{number}].root", root)
    _not_zero("index_root", request.index_root)
    _not_zero("base_sha256", request.base_sha256)
    developer = _developer(request.developer)
    return Registration(digest, request.revision, request.index_root, request.base_sha256, snapshots, developer, split)


def _developer(account: str) -> str:
    try:
        developer = names.account_address(account)
    except ValueError as error:
        raise invalid("BAD_DEVELOPER", f"developer: {error}", "developer") from None
    if not int(developer, 16):
        raise invalid("BAD_DEVELOPER", "developer: the zero address is nobody's", "developer")
    return developer


def digest_of(revision: str) -> str:
    """The SHA-256 that a revision's name ends in.  Raises `Fault`."""
    digest = names.match("adapters/*/revisions/*", revision)[1]
    if not _DIGEST.match(digest) or not int(digest, 16):
        raise invalid("BAD_REVISION", "revision: must end in the SHA-256 of a manifest, lower-case hex", "revision")
    return digest


class Registrations:
    """The kind of errand (`services.ledger.errands.Kind`)."""

    name = "register"

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def key(self, registration: Registration) -> str:
        return f"register:{registration.digest}"

    def add(self, connection: Connection, registration: Registration, operation: str) -> bool:
        return registrations.add(connection, replace(registration, operation=operation))

    def known(self, connection: Connection, registration: Registration) -> Registration:
        known = registrations.get(connection, registration.digest)
        assert known is not None
        if known.lineage != registration.lineage:
            raise precondition(
                "ALREADY_REGISTERED",
                f"{known.revision} was registered as made from something else; a manifest's digest stands for one "
                "lineage: compare with GetModelRegistration",
                revision=known.revision,
            )
        return known

    def waiting(self, connection: Connection) -> list[Registration]:
        return registrations.waiting(connection)

    def call(self, registration: Registration) -> Call:
        digest = bytes.fromhex(registration.digest)
        at, uri = self._chain.contracts, registration.revision
        return calls.register(at, digest, _lineage(registration), registration.split, uri)

    def result(
        self, registration: Registration, transaction: Transaction | None
    ) -> ledger_pb2.ModelRegistration | None:
        """What the chain says of it; None where it is not there, or as made from something else.  Asks the node."""
        found, wanted = self._chain.revision(bytes.fromhex(registration.digest)), _lineage(registration)
        if found is None or (found.index_root, found.base, found.snapshots, found.developer) != (
            wanted.index_root,
            wanted.base,
            abi.snapshots_key(wanted.snapshots),
            wanted.developer,
        ):
            return None
        result = wire.registration(self.about(registration), registration, found)
        if transaction is not None:
            result.transaction, result.block = transaction.hash, transaction.block
        return result

    def about(self, registration: Registration) -> ledger_pb2.ModelRegistration:
        contract = self._chain.contracts.models
        return ledger_pb2.ModelRegistration(
            revision=registration.revision, chain_id=self._chain.chain_id, contract=contract
        )

    def end(self, connection: Connection, registration: Registration) -> None:
        registrations.end(connection, registration.digest)

    def drop(self, connection: Connection, registration: Registration) -> None:
        registrations.drop(connection, registration.digest)

    def refused(self, registration: Registration, error: str) -> Fault:
        return precondition(
            "REGISTRATION_REFUSED",
            f"the registry does not take {registration.revision}: {error or 'it holds it as made from something else'}",
            revision=registration.revision,
        )


async def shown(database: Database, chain: Chain, revision: str) -> ledger_pb2.ModelRegistration:
    """A registered revision as the chain has it now.  Raises `Fault`."""
    kind, digest = Registrations(chain), digest_of(revision)
    known = await database.read(lambda c: registrations.get(c, digest))
    found = None
    if known is not None and known.done and known.revision == revision:
        sent = await database.read(lambda c: transactions.get(c, kind.key(known)))
        try:
            found = await asyncio.to_thread(kind.result, known, sent if sent and sent.state is State.FINAL else None)
        except (ChainUnavailable, NodeRefused) as error:
            raise unavailable(
                "CHAIN_UNAVAILABLE", f"the chain does not say how {revision} stands: {error}", retry_after=5
            ) from None
    if found is None:
        raise not_found("REGISTRATION_NOT_FOUND", f"{revision} is not registered on chain")
    return found


def _lineage(registration: Registration) -> Lineage:
    snapshots: Sequence[tuple[str, int, bytes]] = [
        (*place(snapshot), bytes.fromhex(root)) for snapshot, root in registration.snapshots
    ]
    index_root, base = bytes.fromhex(registration.index_root), bytes.fromhex(registration.base)
    return Lineage(index_root, base, snapshots, registration.developer)


def _not_zero(field: str, digest: str) -> None:
    if not int(digest, 16):
        raise invalid("BAD_ROOT", f"{field}: is all zero, which the registry takes for nothing", field)
