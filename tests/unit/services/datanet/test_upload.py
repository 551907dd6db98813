from __future__ import annotations

import random
import tracemalloc
from dataclasses import replace

import pytest

from openledger import records, signing
from openledger.client import Wallet
from services.datanet import declare, sealing
from services.datanet.config import _RECORD_MEMORY
from services.datanet.declare import Declaration
from services.datanet.model import Datanet, Definition, Field, PersonalData, Policy
from services.datanet.screen import Finding
from services.datanet.upload import Limits, Room, Upload
from services.kit.errors import Fault
from tests.old_vault import before_shares

ADA = Wallet("0x" + "11" * 32)
BOB = Wallet("0x" + "22" * 32)
DATANET = Datanet("terms", BOB.address, Definition("Terms", "CC-BY-4.0", fields=(Field("text"),)), 0, 0, 1, 1, 1)
TEXTS = ("one", "two", "three")
VAULT = before_shares()
LIMITS = Limits(record_bytes=400, upload_bytes=600, upload_records=5)


def declared(*texts: str, signer: Wallet = ADA, **changes) -> Declaration:
    bodies = [records.canonical_bytes(ADA.address, {"text": text}) for text in texts]
    word = Declaration(
        "terms", ADA.address, records.content_root(bodies), len(texts), "CC-BY-4.0", signing.STATEMENT, "r", b""
    )
    word = replace(word, **changes)
    typed = signing.declaration(
        "datanets/terms",
        word.contributor,
        word.content_root,
        word.record_count,
        word.licence,
        word.statement,
        word.request_id,
    )
    return replace(word, signature=signer.sign(typed))


def fault(call, *arguments) -> Fault:
    with pytest.raises(Fault) as caught:
        call(*arguments)
    return caught.value


def test_a_declaration_of_the_contributors_own_hand_is_taken():
    declare.check_signed(declared(*TEXTS), DATANET)


def test_another_wallets_signature_is_refused():
    found = fault(declare.check_signed, declared(*TEXTS, signer=BOB), DATANET)
    assert (found.reason, found.metadata["signer"]) == ("WRONG_SIGNER", BOB.address)


@pytest.mark.parametrize(
    "change",
    (
        {"content_root": b"\x01" * 32},
        {"record_count": 2},
        {"statement": "I found this on the street."},
        {"request_id": "another"},
        {"datanet": "others"},
    ),
    ids=lambda change: next(iter(change)),
)
def test_what_is_changed_after_signing_is_refused(change):
    datanet = replace(DATANET, id=change.get("datanet", "terms"))
    assert fault(declare.check_signed, replace(declared(*TEXTS), **change), datanet).reason == "WRONG_SIGNER"


@pytest.mark.parametrize("signature", (b"\x00", b"\xff" * 65, b"\x00" * 65, b"a" * 64), ids=("1", "ff", "00", "64"))
def test_what_is_no_signature_is_refused(signature):
    found = fault(declare.check_signed, replace(declared(*TEXTS), signature=signature), DATANET)
    assert found.reason in {"BAD_SIGNATURE", "WRONG_SIGNER"}


def test_a_root_of_another_length_is_refused():
    assert fault(declare.check_signed, replace(declared(*TEXTS), content_root=b"\1"), DATANET).reason == "INVALID_FIELD"


def test_another_licence_than_the_datanets_is_refused():
    assert fault(declare.check_signed, declared(*TEXTS, licence="MIT"), DATANET).reason == "DECLARATION_MISMATCH"


def upload(*texts: str, declaration: Declaration | None = None, limits: Limits = LIMITS, room: Room | None = None):
    made = Upload(DATANET, declaration or declared(*texts), limits, room or Room(100_000), VAULT)
    for text in texts:
        made.add({"text": text}, "")
    return made


def test_what_was_declared_becomes_candidates_in_order():
    made = upload(*TEXTS)
    made.close()
    assert [c.index for c in made.candidates] == [0, 1, 2]
    salts = set()
    for text, candidate in zip(TEXTS, made.candidates, strict=True):
        content = sealing.unseal(VAULT, candidate.id, candidate.sealed)
        assert content.canonical == records.canonical_bytes(ADA.address, {"text": text})
        assert candidate.size == len(content.canonical)
        assert candidate.commitment == records.commitment(content.salt, content.canonical)
        assert candidate.name == f"datanets/terms/records/{candidate.id}"
        assert text.encode() not in candidate.sealed.ciphertext
        salts.add(content.salt)
    assert len(salts) == 3


ASKS = replace(DATANET, definition=replace(DATANET.definition, policy=Policy(personal_data=PersonalData.ASK)))
FINE = (Finding("language", passed=True, value="en"),)
PERSONAL = (Finding("personal_data", False, "PERSONAL_DATA", "words", {"text": "[NAME 1]"}),)
SECRET = (Finding("secrets", False, "SECRET", "a key"),)


def test_what_checks_find_decides_in_the_order_in_which_records_came():
    with Upload(ASKS, declared("one", "two", "three"), LIMITS, Room(100_000), VAULT) as made:
        made.add({"text": "one"}, "")
        made.add({"text": "two"}, "s")
        assert [(d.index, d.fields, d.source) for d in made.unseen] == [
            (0, {"text": "one"}, ""),
            (1, {"text": "two"}, "s"),
        ]
        assert not made.candidates
        made.judge([FINE, SECRET])
        made.add({"text": "three"}, "")
        made.judge([PERSONAL])
        assert not made.unseen
    fine, waits = made.candidates
    assert (fine.index, fine.waits, fine.findings) == (0, False, FINE)
    assert (waits.index, waits.waits, waits.findings) == (2, True, PERSONAL)
    content = sealing.unseal(VAULT, waits.id, waits.sealed)
    assert (content.fields, content.suggested) == ({"text": "three"}, {"text": "[NAME 1]"})
    assert (made.refusals[1].reason, made.refusals[1].findings) == ("SECRET", SECRET)


def test_what_is_to_be_masked_is_refused_with_what_it_suggests():
    policy = Policy(personal_data=PersonalData.MASK)
    masks = replace(DATANET, definition=replace(DATANET.definition, policy=policy))
    made = Upload(masks, declared("one"), LIMITS, Room(100_000), VAULT)
    made.add({"text": "one"}, "")
    made.judge([PERSONAL])
    assert made.refusals[0].suggestion == {"text": "[NAME 1]"}
    assert not made.candidates


def test_a_record_that_nobody_looked_at_does_not_come_in():
    made = Upload(ASKS, declared("one"), LIMITS, Room(100_000), VAULT)
    made.add({"text": "one"}, "")
    with pytest.raises(RuntimeError, match="looked"):
        made.close()


def test_of_records_that_are_not_to_be_judged_the_root_alone_is_made_which_takes_no_memory():
    made = Upload(ASKS, declared(*TEXTS), LIMITS, Room(0), VAULT, ())
    for text in TEXTS:
        made.add({"text": text}, "")
    made.close()
    assert (made.unseen, made.candidates, made.refusals) == ([], [], {})
    some = Upload(ASKS, declared(*TEXTS), LIMITS, Room(100_000), VAULT, {1})
    for text in TEXTS:
        some.add({"text": text}, "")
    assert [draft.index for draft in some.unseen] == [1]


def test_batches_are_bounded_in_records_and_in_bytes():
    wide = Limits(2**20, 2**24, 1000)
    made = Upload(ASKS, declared(*["x"] * 99), wide, Room(2**24), VAULT)
    for _ in range(63):
        made.add({"text": "x"}, "")
    assert not made.batch_is_full
    made.add({"text": "x"}, "")
    assert made.batch_is_full
    made.judge([FINE] * 64)
    assert not made.batch_is_full
    made.add({"text": "x" * 2**16}, "")
    assert made.batch_is_full


def test_candidates_that_read_the_same_have_one_token_which_is_no_plain_hash():
    same = upload("one two", " one  two\n", "three")
    tokens = [c.fingerprint for c in same.candidates]
    assert tokens[0] == tokens[1] != tokens[2]
    assert tokens[0] != records.fingerprint({"text": "one two"})


@pytest.mark.parametrize("sent", (("one", "two"), ("one", "three", "two"), ("one", "two", "three!")))
def test_what_was_not_declared_fails_as_a_whole(sent):
    assert fault(upload(*sent, declaration=declared(*TEXTS)).close).reason == "DECLARATION_MISMATCH"


def test_more_than_declared_fails_before_the_rest_is_read():
    found = fault(lambda: upload(*TEXTS, "four", declaration=declared(*TEXTS)))
    assert found.reason == "DECLARATION_MISMATCH"


def test_a_record_that_is_too_large_is_refused_alone_and_still_counts_for_the_root():
    made = upload("one", "x" * 400, "three")
    made.close()
    assert [c.index for c in made.candidates] == [0, 2]
    assert made.refusals[1].reason == "RECORD_TOO_LARGE"


def test_too_many_records_are_refused_at_once():
    assert fault(lambda: upload(*"abcdef")).reason == "UPLOAD_TOO_LARGE"


def test_too_many_bytes_are_refused():
    assert fault(lambda: upload("x" * 200, "y" * 200)).reason == "UPLOAD_TOO_LARGE"


class Counting(Room):
    """Says how much of it is taken."""

    @property
    def taken(self) -> int:
        return self._taken


@pytest.mark.parametrize("words", (1, 20, 256, 2000))
@pytest.mark.parametrize("policy", PersonalData, ids=str)
def test_the_memory_that_an_upload_takes_is_what_is_counted(words, policy):
    count, draw = 100, random.Random(words)
    texts = [" ".join("".join(draw.choices("abcdefghijklmnop", k=4)) for _ in range(words)) for _ in range(count)]
    found = FINE if policy is PersonalData.IGNORE else (*FINE, Finding("personal_data", False, "PERSONAL_DATA"))
    asks = replace(DATANET, definition=replace(DATANET.definition, policy=Policy(personal_data=policy)))
    wide, room = Limits(2**20, 2**24, 1000), Counting(2**24)
    made = Upload(asks, declared(*texts), wide, room, VAULT)
    made.add({"text": texts[0]}, "")
    made.judge([FINE] * len(made.unseen))  # what is made once for all is not to be counted
    tracemalloc.start()
    before = room.taken
    for text in texts[1:]:
        made.add({"text": text}, "")
        if made.unseen:
            suggestion = {"text": "".join(draw.choices("abcdefghijklmnop", k=len(text)))}
            made.judge([(*found[:-1], replace(found[-1], message="m" * 200, suggestion=suggestion))])
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken <= 1.1 * (room.taken - before)
    assert room.taken - before <= 4 * made._size + (count - 1) * _RECORD_MEMORY
    with made:
        pass
    assert room.taken == 0


def test_uploads_share_one_room_and_give_it_back():
    room = Room(2000)
    first = upload("x" * 100, room=room)
    assert len(first.candidates) == 1
    full = fault(lambda: upload("y" * 100, room=room))
    assert (full.reason, full.retry_after) == ("UPLOADS_FULL", 2)
    with first:
        pass
    second = upload("y" * 100, room=room)
    assert len(second.candidates) == 1


def test_rules_that_changed_while_an_upload_came_in_are_noticed():
    made = upload(*TEXTS)
    renamed = replace(DATANET, definition=replace(DATANET.definition, display_name="Words"), record_count=9, revision=2)
    made.check_current(renamed)
    for change in ({"policy": Policy(min_chars=9)}, {"fields": (Field("text", required=True),)}):
        stricter = replace(DATANET, definition=replace(DATANET.definition, **change))
        assert fault(made.check_current, stricter).reason == "DATANET_CHANGED"
