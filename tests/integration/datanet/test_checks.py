"""Records that are looked at as they come in: what contributors are told, what waits for their word, what is left."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from openledger import records, signing
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet import wire
from services.datanet.screeners import Screeners
from services.datanet.store import METADATA
from services.datanet.tables import CONTENT, DECLARATION, FIRST, KEY, SCREENING
from services.datanet.upload import Room
from services.kit import contained
from services.kit.errors import exhausted
from services.kit.idempotency import fingerprint
from tests.datanet_world import (
    ADA,
    BOB,
    CLEO,
    DATANET,
    LICENCE,
    OWNER,
    begin_snapshot,
    erase,
    give,
    give_badly,
    listed,
    new_id,
    open_datanet,
    refused,
    send,
    upload,
    withdraw,
    world,
)
from tests.needs import needs

pytestmark = needs("presidio", "language")

PLAIN = "The kidney has many cysts of different sizes, and the pelvis of it is missing."
MAIL = "Whoever has questions about this sentence should write to ann@example.org about it."
MASKED = MAIL.replace("ann@example.org", "[EMAIL 1]")
GERMAN = "Dieser Satz handelt von der Niere und ist ganz und gar auf Deutsch geschrieben."
SECRET = "Please take this one: -----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEAtest"
SPAM = "spam " * 200
MASK, ASK, REFUSE = pb.PERSONAL_DATA_POLICY_MASK, pb.PERSONAL_DATA_POLICY_ASK, pb.PERSONAL_DATA_POLICY_REFUSE
ACCEPTED, WAITS, REJECTED = pb.RECORD_STATE_ACCEPTED, pb.RECORD_STATE_SCREENED, pb.RECORD_STATE_REJECTED


@pytest.fixture
async def here(ledger, ledger_at, tmp_path):
    """A datanet service whose datanet `terms` asks for all checks, and has contributors asked about personal data."""
    async with world(tmp_path, ledger, ledger_at, max_record_bytes=4000) as running:
        async with running.as_(OWNER) as owner:
            policy = pb.Policy(languages=["en"], personal_data=ASK, quality=True)
            await open_datanet(owner, policy=policy)
        yield running


async def change(here, **policy):
    async with here.as_(OWNER) as owner:
        said = await owner.call(owner.datanet.GetDatanet, pb.GetDatanetRequest(name=DATANET))
        said.policy.CopyFrom(pb.Policy(**policy))
        request = pb.UpdateDatanetRequest(datanet=said, request_id=new_id())
        request.update_mask.paths.append("policy")
        await owner.call(owner.datanet.UpdateDatanet, request)


def word(name, text, *, by=ADA, masked=False, request_id="", signer=None):
    request_id = request_id or new_id()
    root = records.content_root([records.canonical_bytes(by.address, {"text": text})])
    typed = signing.declaration(DATANET, by.address, root, 1, LICENCE, signing.STATEMENT, request_id)
    return pb.ConfirmRecordRequest(
        name=name,
        confirmed=True,
        masked=masked,
        request_id=request_id,
        declaration=pb.Declaration(
            contributor=by.account,
            content_root=root,
            record_count=1,
            licence=LICENCE,
            statement=signing.STATEMENT,
            signature=(signer or by).sign(typed),
        ),
    )


async def confirm(here, request, by=ADA):
    async with here.as_(by) as client:
        return await client.call(client.datanet.ConfirmRecord, request)


async def get(here, name, by=ADA):
    async with here.as_(by) as client:
        return await client.call(client.datanet.GetRecord, pb.GetRecordRequest(name=name))


def rows(here, table):
    return here.database.read_now(lambda c: c.execute(select(table)).all())


async def waiting(here, text=MAIL):
    (outcome,) = (await give(here, ADA, text)).outcomes
    assert outcome.state == WAITS
    return outcome.record


async def test_each_record_is_told_what_was_found_and_a_bad_one_spoils_no_other(here):
    answer = await give(here, ADA, PLAIN, MAIL, GERMAN, SECRET, SPAM)
    assert [(o.state, o.reason) for o in answer.outcomes] == [
        (ACCEPTED, ""),
        (WAITS, "PERSONAL_DATA"),
        (REJECTED, "LANGUAGE_NOT_TAKEN"),
        (REJECTED, "SECRET"),
        (REJECTED, "LOW_QUALITY"),
    ]
    assert (answer.accepted, answer.waiting, answer.rejected) == (1, 1, 3)
    assert [dict(o.suggested_fields) for o in answer.outcomes] == [{}, {"text": MASKED}, {}, {}, {}]
    assert all(len(outcome.checks) == 4 for outcome in answer.outcomes)
    said = " ".join(c.message + c.value for o in answer.outcomes for c in o.checks) + str(answer.outcomes[3].message)
    assert not any(part in said for part in ("ann@", "MIIE", "kidney", "Niere"))
    record = await get(here, answer.outcomes[0].record)
    assert (record.language, [check.id for check in record.checks if not check.passed]) == ("en", [])
    assert {check.id for check in record.checks} == {"language", "quality", "personal_data", "secrets"}


async def test_many_records_are_looked_at_in_batches_and_in_order(here):
    texts = [f"The sentence with the number {n} is written in plain English, as all of them are." for n in range(150)]
    texts[70], texts[149] = MAIL, SECRET
    answer = await give(here, ADA, *texts)
    assert [o.index for o in answer.outcomes if o.state != ACCEPTED] == [70, 149]


async def test_the_same_upload_again_is_answered_alike_with_what_is_suggested_which_is_not_kept(here):
    await change(here, personal_data=MASK)
    messages = upload(ADA, [PLAIN, MAIL])
    async with here.as_(ADA) as ada:
        first = await send(ada, messages)
        assert await send(ada, messages) == first
    assert (first.outcomes[1].state, first.outcomes[1].reason) == (REJECTED, "PERSONAL_DATA")
    assert dict(first.outcomes[1].suggested_fields) == {"text": MASKED}
    kept = b"".join(row.response for row in rows(here, METADATA.tables["idempotency"]))
    assert b"EMAIL 1" not in kept
    assert b"PERSONAL_DATA" in kept
    again = await give(here, ADA, MASKED)
    assert [outcome.state for outcome in again.outcomes] == [ACCEPTED]


async def test_of_an_upload_sent_again_only_that_is_looked_at_of_which_something_was_suggested(here, monkeypatch):
    messages, look, seen = upload(ADA, [PLAIN, MAIL, SPAM]), Screeners.look, []

    async def watched(self, drafts, *more):
        seen.extend(draft.index for draft in drafts)
        return await look(self, drafts, *more)

    monkeypatch.setattr(Screeners, "look", watched)
    async with here.as_(ADA) as ada:
        first = await send(ada, messages)
        assert seen == [0, 1, 2]
        assert await send(ada, messages) == first
    assert seen == [0, 1, 2, 1]


async def test_an_upload_sent_again_while_memory_is_full_is_not_taken_for_another_one(here, monkeypatch):
    plain, mail = upload(ADA, [PLAIN]), upload(ADA, [MAIL])

    def full(self, size):
        raise exhausted("UPLOADS_FULL", "full", retry_after=0.01)

    async with here.as_(ADA) as ada:
        first = await send(ada, plain)
        await send(ada, mail)
        monkeypatch.setattr(Room, "take", full)
        assert await send(ada, plain) == first
        assert (await refused(send(ada, mail))).reason == "UPLOADS_FULL"


async def test_refused_means_refused(here):
    await change(here, personal_data=REFUSE)
    (outcome,) = (await give(here, ADA, MAIL)).outcomes
    assert (outcome.state, outcome.reason, outcome.record) == (REJECTED, "PERSONAL_DATA", "")
    assert dict(outcome.suggested_fields) == {}
    assert rows(here, CONTENT) == []


async def test_a_record_that_waits_is_shown_to_nobody_but_its_contributor(here):
    name = await waiting(here)
    mine = await get(here, name)
    assert (mine.state, dict(mine.fields), dict(mine.suggested_fields)) == (WAITS, {"text": MAIL}, {"text": MASKED})
    for other in (OWNER, BOB):
        async with here.as_(other) as client:
            assert (await refused(get(here, name, other))).reason == "RECORD_NOT_FOUND"
            found = await client.call(
                client.datanet.SearchRecords, pb.SearchRecordsRequest(parent=DATANET, query="questions")
            )
            assert list(found.records) == []
            assert (await refused(confirm(here, word(name, MAIL, by=other), other))).reason == "RECORD_NOT_FOUND"
        assert await listed(here, other) == []
    assert [record.name for record in await listed(here, ADA)] == [name]
    async with here.as_(OWNER) as owner:
        assert (await refused(begin_snapshot(owner))).reason == "EMPTY_SNAPSHOT"
    async with here.as_(ADA) as ada:
        assert (await refused(withdraw(ada, name))).reason == "RECORD_WAITS"


async def test_nobody_else_is_told_which_record_waits_or_kept_out_by_one_that_only_reads_alike(here):
    name = await waiting(here)
    (same,) = (await give(here, BOB, MAIL)).outcomes
    assert (same.reason, same.first, name in same.message) == ("DUPLICATE", "", False)
    for other in (OWNER, BOB):
        async with here.as_(other) as client:
            assert (await refused(withdraw(client, name))).reason == "RECORD_NOT_FOUND"
            assert (await refused(erase(client, name))).reason == "RECORD_NOT_FOUND"
    await change(here, duplicates=pb.DUPLICATE_POLICY_REFUSE)
    (meanwhile,) = (await give(here, BOB, MAIL.replace("sentence", "phrase"))).outcomes
    assert (await refused(confirm(here, word(name, MAIL)))).reason == "NEAR_DUPLICATE"
    async with here.as_(BOB) as client:
        await erase(client, meanwhile.record)
    assert (await confirm(here, word(name, MAIL))).state == ACCEPTED
    (near,) = (await give(here, CLEO, MAIL.replace("sentence", "sequence"))).outcomes
    assert (near.reason, near.first) == ("NEAR_DUPLICATE", name)


async def test_its_contributor_has_it_taken_as_it_was_given(here):
    name = await waiting(here)
    request = word(name, MAIL)
    answer = await confirm(here, request)
    assert (answer.name, answer.state, dict(answer.fields)) == (name, ACCEPTED, {})
    assert await confirm(here, request) == answer
    shown = await get(here, name, OWNER)
    assert (dict(shown.fields), dict(shown.suggested_fields)) == ({"text": MAIL}, {})
    assert [check.reason for check in shown.checks if not check.passed] == ["PERSONAL_DATA"]
    assert (await refused(confirm(here, word(name, MAIL)))).reason == "RECORD_DOES_NOT_WAIT"
    again = await give(here, BOB, MAIL)
    assert again.outcomes[0].reason == "DUPLICATE"


async def test_or_as_suggested_and_then_nothing_is_left_of_what_was_given(here):
    name = await waiting(here)
    request = word(name, MASKED, masked=True)
    answer = await confirm(here, request)
    assert (answer.name != name, answer.state) == (True, ACCEPTED)
    assert await confirm(here, request) == answer
    shown = await get(here, answer.name, OWNER)
    assert (dict(shown.fields), shown.language) == ({"text": MASKED}, "en")
    assert all(check.passed for check in shown.checks)
    assert (await get(here, name)).state == pb.RECORD_STATE_ERASED
    assert len(rows(here, CONTENT)) == len(rows(here, SCREENING)) == len(rows(here, FIRST)) == 1
    async with here.as_(ADA) as ada:
        await erase(ada, answer.name)
    assert rows(here, CONTENT) == rows(here, SCREENING) == rows(here, FIRST) == []


async def test_an_account_that_is_full_has_room_for_a_record_in_place_of_another(ledger, ledger_at, tmp_path):
    long = "The rest of it says nothing of anybody, and is there to be long. " * 9
    most = {"max_account_records": 1, "max_account_bytes": 1024}
    async with world(tmp_path, ledger, ledger_at, **most) as running:
        async with running.as_(OWNER) as owner:
            await open_datanet(owner, policy=pb.Policy(personal_data=ASK))
        (outcome,) = (await give(running, ADA, MAIL + long)).outcomes
        answer = await confirm(running, word(outcome.record, MASKED + long, masked=True))
        assert answer.state == ACCEPTED
        full = await give_badly(running, ADA, upload(ADA, [PLAIN]))
        assert full.reason == "ACCOUNT_FULL"


async def test_or_not_at_all(here):
    name = await waiting(here)
    request = pb.ConfirmRecordRequest(name=name, request_id=new_id())
    answer = await confirm(here, request)
    assert (answer.name, answer.state) == (name, pb.RECORD_STATE_ERASED)
    assert await confirm(here, request) == answer
    assert rows(here, CONTENT) == rows(here, SCREENING) == rows(here, FIRST) == []


async def test_a_word_that_is_not_the_contributors_about_this_text_takes_nothing(here):
    name = await waiting(here)
    bare = pb.ConfirmRecordRequest(name=name, confirmed=True, request_id=new_id())
    assert (await refused(confirm(here, bare))).reason == "INVALID_FIELD"
    for request, reason in (
        (word(name, MASKED), "DECLARATION_MISMATCH"),
        (word(name, MAIL, masked=True), "DECLARATION_MISMATCH"),
        (word(name, MAIL, signer=BOB), "WRONG_SIGNER"),
        (word(name, MAIL, by=BOB), "NOT_YOURS"),
        (word(f"{DATANET}/records/{'0' * 32}", MAIL), "RECORD_NOT_FOUND"),
    ):
        assert (await refused(confirm(here, request))).reason == reason
    assert (await get(here, name)).state == WAITS
    await confirm(here, word(name, MAIL))
    other = await refused(confirm(here, word(name, MAIL, by=BOB), BOB))
    assert (other.reason, "contributor's to confirm" in other.message) == ("NOT_YOURS", True)


async def test_a_request_id_that_was_used_for_another_word_is_refused(here):
    name, request_id = await waiting(here), new_id()
    await confirm(here, word(name, MAIL, request_id=request_id))
    other = word(name, MASKED, masked=True, request_id=request_id)
    assert (await refused(confirm(here, other))).reason == "REQUEST_ID_REUSED"
    answer = await give_badly(here, ADA, upload(ADA, [PLAIN], request_id))
    assert answer.reason == "REQUEST_ID_REUSED"


async def test_as_suggested_it_must_say_something_new_and_stand_by_the_rules_of_now(here):
    name = await waiting(here)
    await give(here, CLEO, MASKED)
    found = await refused(confirm(here, word(name, MASKED, masked=True)))
    assert found.reason == "DUPLICATE"
    await change(here, personal_data=ASK, min_chars=1000)
    assert (await refused(confirm(here, word(name, MASKED, masked=True)))).reason == "TEXT_TOO_SHORT"
    await change(here, personal_data=REFUSE)
    assert (await refused(confirm(here, word(name, MAIL)))).reason == "PERSONAL_DATA"
    assert (await get(here, name)).state == WAITS
    assert len(rows(here, CONTENT)) == 2


async def test_nothing_is_kept_by_which_one_could_guess_what_was_refused(here):
    await change(here, personal_data=MASK)
    messages = upload(ADA, [MAIL])
    async with here.as_(ADA) as ada:
        first = await send(ada, messages)
        assert await send(ada, messages) == first
    assert first.rejected == 1
    header, (row,) = messages[0].header, rows(here, DECLARATION)
    assert (row.content_root, row.signature) == (b"", b"")
    kept = [row.request_sha256 for row in rows(here, METADATA.tables["idempotency"])]
    assert fingerprint(wire.unsigned(header)) not in kept
    other = upload(ADA, [PLAIN], header.request_id)
    assert (await give_badly(here, ADA, other)).reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("policy", "reason"),
    (
        ({"personal_data": ASK, "min_chars": 1000}, "TEXT_TOO_SHORT"),
        ({"personal_data": ASK, "max_chars": 10}, "TEXT_TOO_LONG"),
        ({"personal_data": ASK, "languages": ["de"]}, "LANGUAGE_NOT_TAKEN"),
        ({"languages": ["de"]}, "LANGUAGE_NOT_TAKEN"),
        ({"personal_data": MASK}, "PERSONAL_DATA"),
        ({"personal_data": REFUSE}, "PERSONAL_DATA"),
    ),
)
async def test_as_given_it_must_stand_by_the_rules_of_now(here, policy, reason):
    name = await waiting(here)
    await change(here, **policy)
    found = await refused(confirm(here, word(name, MAIL)))
    assert (found.reason, "any more" in found.message) == (reason, True)
    assert (await get(here, name)).state == WAITS


async def test_as_given_it_is_taken_once_nobody_asks_for_personal_data(here):
    name = await waiting(here)
    await change(here)
    assert (await confirm(here, word(name, MAIL))).state == ACCEPTED
    assert [check.reason for check in (await get(here, name)).checks if not check.passed] == ["PERSONAL_DATA"]


async def test_rules_that_are_changed_while_it_is_looked_at_are_not_those_it_comes_in_by(here, monkeypatch):
    name, look = await waiting(here), Screeners.look

    async def changing(self, *arguments):
        found = await look(self, *arguments)
        await change(here, personal_data=ASK, max_chars=10)
        return found

    monkeypatch.setattr(Screeners, "look", changing)
    assert (await refused(confirm(here, word(name, MAIL)))).reason == "DATANET_CHANGED"
    await change(here, personal_data=ASK)
    assert (await refused(confirm(here, word(name, MASKED, masked=True)))).reason == "DATANET_CHANGED"
    assert (await get(here, name)).state == WAITS


@pytest.mark.parametrize("masked", (False, True))
async def test_what_reads_like_an_earlier_one_is_not_confirmed_where_that_is_not_taken(here, masked):
    async with here.as_(OWNER) as owner:
        await open_datanet(owner, "plain")
    near = MASKED.replace("sentence", "phrase") if masked else MAIL.replace("sentence", "phrase")
    (earlier,) = (await give(here, BOB, near, datanet="datanets/plain")).outcomes
    name = await waiting(here)
    await change(here, personal_data=ASK, duplicates=pb.DUPLICATE_POLICY_REFUSE)
    request = word(name, MASKED if masked else MAIL, masked=masked)
    assert (await refused(confirm(here, request))).reason == "NEAR_DUPLICATE"
    assert (await get(here, name)).state == WAITS
    async with here.as_(BOB) as bob:
        await erase(bob, earlier.record)
    # What waits has not come in: who parked a text for ever would be first over all who say it meanwhile.
    (meanwhile,) = (await give(here, BOB, near, datanet="datanets/plain")).outcomes
    assert (await refused(confirm(here, request))).reason == "NEAR_DUPLICATE"
    async with here.as_(BOB) as bob:
        await erase(bob, meanwhile.record)
    assert (await confirm(here, request)).state == ACCEPTED


async def test_what_nobody_can_open_is_not_confirmed_and_can_be_let_go(here):
    name = await waiting(here)

    def harm(c):
        wrapped = c.execute(select(KEY.c.wrapped)).scalar_one()
        c.execute(update(KEY).values(wrapped=wrapped[:-1] + bytes([wrapped[-1] ^ 1])))

    here.database.write_now(harm)
    assert (await refused(confirm(here, word(name, MAIL)))).reason == "CONTENT_LOST"
    let_go = pb.ConfirmRecordRequest(name=name, request_id=new_id())
    assert (await confirm(here, let_go)).state == pb.RECORD_STATE_ERASED


async def test_what_is_found_in_a_source_alone_is_not_helped_by_a_suggestion(here):
    request_id, source = new_id(), "from the letters of Mr. John Smith, ann@example.org"
    root = records.content_root([records.canonical_bytes(ADA.address, {"text": PLAIN}, source)])
    typed = signing.declaration(DATANET, ADA.address, root, 1, LICENCE, signing.STATEMENT, request_id)
    messages = upload(ADA, [PLAIN], request_id)
    messages[0].header.declaration.content_root = root
    messages[0].header.declaration.signature = ADA.sign(typed)
    messages[1].record.source = source
    async with here.as_(ADA) as ada:
        (outcome,) = (await send(ada, messages)).outcomes
    assert outcome.state == WAITS
    request = word(outcome.record, PLAIN, masked=True)
    signed = signing.declaration(DATANET, ADA.address, root, 1, LICENCE, signing.STATEMENT, request.request_id)
    request.declaration.content_root, request.declaration.signature = root, ADA.sign(signed)
    assert (await refused(confirm(here, request))).reason == "PERSONAL_DATA"


async def test_a_datanet_that_asks_for_nothing_starts_no_worker_and_says_so_of_its_records(here, monkeypatch):
    monkeypatch.setattr(contained, "_process", None)  # by which all workers are started
    async with here.as_(OWNER) as owner:
        await open_datanet(owner, "plain")
    answer = await give(here, ADA, SPAM, MAIL, datanet="datanets/plain")
    assert [outcome.state for outcome in answer.outcomes] == [ACCEPTED, ACCEPTED]
    shown = await get(here, answer.outcomes[1].record)
    assert (list(shown.checks), shown.language) == ([], "")
    assert rows(here, SCREENING) == []
