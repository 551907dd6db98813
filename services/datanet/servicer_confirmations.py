"""Transport of contributors' word on records that wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import grpc
from sqlalchemy import Connection

from openledger import names
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet import (
    admit,
    confirm,
    declare,
    erase,
    outcomes,
    sealing,
    store_erasures,
    store_members,
    store_records,
    store_screenings,
    store_use,
    wire,
)
from services.datanet.answers import Answers, now
from services.datanet.comparing import Comparing
from services.datanet.declare import Declaration
from services.datanet.erasing import Erasing
from services.datanet.likeness import Text
from services.datanet.members import Standing
from services.datanet.model import Content, Datanet, Record
from services.datanet.screeners import Findings, Screeners
from services.datanet.store_alike import Earlier, Looked
from services.datanet.store_use import Use
from services.datanet.upload import Candidate, candidate
from services.datanet.vault import Vault
from services.kit import call
from services.kit.auth import ACCOUNTS, Principal
from services.kit.errors import exists, invalid, precondition
from services.kit.operations import Operations

ACCESS = {"ConfirmRecord": ACCOUNTS}


@dataclass(frozen=True)
class _Word:
    """A declaration, and what was found in what it is about, by the rules of the datanet as it was.

    `text`: what that is like.  `candidate`: the record that is to come in, where it is taken as suggested.
    """

    declaration: Declaration
    datanet: Datanet
    findings: Findings
    text: Text
    candidate: Candidate | None = None


class ConfirmationMethods:
    """The RPC by which records that wait come in or go.  `most`: what an account may give in all datanets."""

    def __init__(
        self,
        answers: Answers,
        vault: Vault,
        most: Use,
        screeners: Screeners,
        operations: Operations,
        erasing: Erasing,
        comparing: Comparing,
    ) -> None:
        self._answers, self._vault, self._most_given = answers, vault, most
        self._screeners, self._operations, self._erasing, self._comparing = screeners, operations, erasing, comparing

    async def ConfirmRecord(self, request: pb.ConfirmRecordRequest, context: grpc.aio.ServicerContext) -> pb.Record:
        (datanet, record_id), caller = names.match("datanets/*/records/*", request.name), call.principal()
        same = pb.ConfirmRecordRequest()
        same.CopyFrom(request)
        same.declaration.signature = b""  # of which a wallet can make many for one message

        def look(c: Connection) -> tuple[pb.Record | None, Datanet, Content | None]:
            known = self._answers.idempotency.recall(
                c, caller.name, store_screenings.CONFIRM, request.request_id, same, pb.Record
            )
            at = store_members.standing(c, datanet, caller)
            if known is not None:
                return known, at.datanet, None
            record = _waiting(c, at, record_id)
            said = store_records.contents(c, self._vault, [record.id]) if request.confirmed else {}
            return None, at.datanet, said.get(record.id)

        known, at_first, content = await self._answers.database.read(look)
        if known is not None:
            return known

        async def once(act: Callable[[Connection], pb.Record]) -> pb.Record:
            return await self._answers.once(store_screenings.CONFIRM, request.request_id, same, pb.Record, act)

        if request.confirmed:
            word = await self._word(request, record_id, at_first, content)
            take = partial(self._taken, word=word, record_id=record_id, caller=caller)

            async def taken(looked: Looked | None) -> pb.Record:
                return await once(partial(take, looked=looked))

            # Not behind its own uploads; and what a single text is like is little to remember.
            who, policy, little = f"{caller.name} confirms", at_first.definition.policy, lambda _: None
            answer = await self._comparing.in_turn(who, policy, [word.text], little, taken)
        else:
            answer = await once(lambda c: self._let_go(c, datanet, record_id, caller))
        self._erasing.wake()
        return answer

    async def _word(
        self, request: pb.ConfirmRecordRequest, record_id: str, datanet: Datanet, content: Content | None
    ) -> _Word:
        if not request.HasField("declaration"):
            message = "declaration: a record that is taken needs its contributor's signed word about it"
            raise invalid("INVALID_FIELD", message, "declaration")
        if content is None:
            message = f"{request.name}: nobody can open it any more. Take it back, and give it anew"
            raise precondition(wire.CONTENT_LOST, message)
        declaration, draft = wire.confirmation(request, datanet.id), confirm.draft(content, request.masked)
        call.must_be(declaration.contributor)
        canonical = await asyncio.to_thread(confirm.check_declared, declaration, datanet, draft)
        (findings,) = await self._screeners.look([draft], datanet.definition.policy, declaration.contributor)

        def word() -> _Word:
            if not request.masked:
                confirm.check_as_given(datanet, draft, findings)
                text = sealing.text(self._vault, record_id, draft.fields)
                return _Word(declaration, datanet, findings, text)
            confirm.check_as_suggested(datanet, draft, findings)
            made = candidate(self._vault, datanet.id, draft, canonical, findings)
            return _Word(declaration, datanet, findings, made.text, made)

        return await asyncio.to_thread(word)

    def _taken(
        self, connection: Connection, word: _Word, record_id: str, caller: Principal, looked: Looked | None
    ) -> pb.Record:
        # Locks are taken as by an upload: likeness, the fingerprint, the datanet.
        if word.candidate is not None:
            return self._as_suggested(connection, word, word.candidate, record_id, caller, looked)
        _not_near(store_records.reads_like(connection, self._vault, word.declaration, word.text, looked), word.datanet)
        at = store_members.standing(connection, word.datanet.id, caller, lock=True)
        at.must_give()
        record = _waiting(connection, at, record_id)
        admit.check_current(word.datanet, at.datanet)
        declare.check_licence(word.declaration, at.datanet)
        store_records.declared(connection, word.declaration, now())
        found = store_screenings.confirmed(connection, record.id, word.declaration.request_id, word.findings)
        return _told(store_records.accept(connection, self._vault, record, word.text, now()), found)

    def _as_suggested(
        self,
        connection: Connection,
        word: _Word,
        taken: Candidate,
        record_id: str,
        caller: Principal,
        looked: Looked | None,
    ) -> pb.Record:
        declaration, datanet = word.declaration, word.datanet.id
        for earlier in store_records.read_alike(connection, self._vault, declaration, [taken], looked).values():
            _not_near(earlier, word.datanet)
        first = store_records.take(connection, declaration, [taken], now(), declaration.request_id)[taken.index]
        at = store_members.standing(connection, datanet, caller, lock=True)
        at.must_give()
        admit.check_current(word.datanet, at.datanet)
        record = _waiting(connection, at, record_id)
        if first != taken.name:
            shown = outcomes.datanet_of(first) == datanet
            shown = shown and not store_records.others_that_wait(connection, [first], caller.address)
            said = first if shown else outcomes.HIDDEN
            message = f"{said} says the same as is suggested for {record.name}: take this one back"
            raise exists("DUPLICATE", message)
        # In the place, and in the room, of one that is counted already.
        self._erased(connection, record)
        store_use.add(connection, declaration.contributor, Use(0, taken.size), self._most_given)
        return _told(store_records.get(connection, datanet, taken.id), taken.findings)

    def _let_go(self, connection: Connection, datanet: str, record_id: str, caller: Principal) -> pb.Record:
        at = store_members.standing(connection, datanet, caller, lock=True)
        return wire.record(self._erased(connection, _waiting(connection, at, record_id)), None, told=True)

    def _erased(self, connection: Connection, record: Record) -> Record:
        operation, name, told = erase.operation(record), names.account(record.contributor), erase.BY_CONTRIBUTOR
        erased = store_erasures.begin(connection, self._vault, record, operation, now(), reason="", told=told)
        self._operations.create(connection, operation, name, erase.progress(record.name, erase.DESTROYING))
        return erased


def _not_near(earlier: Earlier | None, datanet: Datanet) -> None:
    """Raises `Fault` when what is to come in reads like an earlier record."""
    if earlier is not None:
        hidden = () if earlier.datanet == datanet.id else (earlier.name,)
        raise exists("NEAR_DUPLICATE", outcomes.near_duplicate(earlier, hidden))


def _waiting(connection: Connection, at: Standing, record_id: str) -> Record:
    record = store_records.get(connection, at.datanet.id, record_id, at.caller.address)
    confirm.check_waits(at, record)
    return record


def _told(record: Record, findings: Findings) -> pb.Record:
    """Without what it says: the answer is kept, and must not outlive the record."""
    return wire.record(record, None, findings=findings, told=True)
