"""Records that read like an earlier one in the Datanet's store, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from sqlalchemy import delete, func, select, update

from openledger import signing
from services.datanet import liken, sealing, store, store_erasures, store_likeness, store_records
from services.datanet.__main__ import MIGRATIONS
from services.datanet.declare import Declaration
from services.datanet.likeness import BANDS, Sketch
from services.datanet.model import Datanet, Definition, Duplicates, Field, Policy, RecordState
from services.datanet.shares import Shares
from services.datanet.tables import FIRST, KEY, LIKENESS, POSTING, RECORD
from services.datanet.upload import Limits, Room, Upload
from services.datanet.vault import Vault
from services.datanet.vault import place as place_of_share
from services.kit.database import Database

ADA, BOB, CLEO = ("0x" + letter * 40 for letter in "abc")
STRICT, OPEN, CREDITING = (
    Datanet(id_, ADA, Definition(id_, "MIT", fields=(Field("text"),), policy=Policy(duplicates=rule)), 0, 0, 1, 1, 1)
    for id_, rule in (("strict", Duplicates.REFUSE), ("open", Duplicates.IGNORE), ("crediting", Duplicates.CREDIT))
)
DATANETS = {datanet.id: datanet for datanet in (STRICT, OPEN, CREDITING)}
TEXT = "A fracture of the left femur that came about without any fall or blow, as bones do that have lost calcium."
NEAR = TEXT.replace("left", "right").replace("any", "either")
NEAREST = TEXT.upper()
WORDS = [f"{a}{b}{c}" for a in "bcdfghkl" for b in "aeiou" for c in "mnprstvz"]


@dataclass(frozen=True)
class Given:
    """What became of an upload: by index, the record that stands there, and those of others that were alike."""

    first: dict[int, str]
    alike: dict[int, str]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database(database_url, erases=True)
    found.migrate(MIGRATIONS)
    for datanet in DATANETS.values():
        found.write_now(lambda c, d=datanet: store.add(c, d))
    yield found
    found.close()


@pytest.fixture
def vault(tmp_path) -> Vault:
    return Vault(b"k" * 32, Shares(tmp_path / "shares"))


def give(database: Database, vault: Vault, contributor: str, *texts: str, datanet: str = "strict") -> Given:
    request = str(uuid.uuid4())
    word = Declaration(datanet, contributor, b"r" * 32, len(texts), "MIT", signing.STATEMENT, request, b"s")
    upload = Upload(DATANETS[datanet], word, Limits(10**5, 10**7, 10**4), Room(10**9), vault)
    for text in texts:
        upload.add({"text": text}, "")

    def take(connection):
        alike = store_records.read_alike(connection, vault, word, upload.candidates)
        others = [candidate for candidate in upload.candidates if candidate.index not in alike]
        first = store_records.take(connection, word, others, 5000)
        return Given(first, {index: earlier.name for index, earlier in alike.items()})

    return database.write_now(take)


def looked_at(database: Database, vault: Vault, *texts: str) -> tuple[Declaration, Upload, store_likeness.Looked]:
    """An upload of Bob's that was compared with what came before it, and is not taken yet."""
    word = Declaration("strict", BOB, b"r" * 32, len(texts), "MIT", signing.STATEMENT, str(uuid.uuid4()), b"s")
    upload = Upload(STRICT, word, Limits(10**5, 10**7, 10**4), Room(10**9), vault)
    for text in texts:
        upload.add({"text": text}, "")
    looked = None
    for candidate in upload.candidates:
        looked = database.read_now(lambda c, t=candidate.text, so=looked: store_likeness.look(c, vault, [t], so))
    return word, upload, looked


def alike(database: Database, vault: Vault, word, upload, looked) -> dict[int, str]:
    found = database.write_now(lambda c: store_records.read_alike(c, vault, word, upload.candidates, looked))
    return {index: earlier.name for index, earlier in found.items()}


def erased(database: Database, vault: Vault, name: str) -> None:
    _, datanet, _, record = name.split("/")

    def begin(c):
        found = store_records.get(c, datanet, record)
        store_erasures.begin(c, vault, found, f"operations/{record}", 9000, reason="", told="")

    database.write_now(begin)


def test_what_was_compared_before_is_not_compared_again_while_others_wait(database, vault, monkeypatch):
    first = give(database, vault, ADA, TEXT, "a text of its own that nobody else has said before").first[0]
    waiting = looked_at(database, vault, NEAR, "and one that is wholly different from any other here")
    opened, open_sketch = [], sealing.open_sketch
    monkeypatch.setattr(sealing, "open_sketch", lambda *given: opened.append(1) or open_sketch(*given))
    assert alike(database, vault, *waiting) == {0: first}
    assert opened == []


def test_what_came_after_it_was_compared_is_seen(database, vault):
    waiting = looked_at(database, vault, NEAR)
    since = give(database, vault, ADA, TEXT).first[0]
    assert alike(database, vault, *waiting) == {0: since}


def test_what_came_before_stays_first(database, vault):
    first = give(database, vault, ADA, TEXT).first[0]
    waiting = looked_at(database, vault, NEAR)
    give(database, vault, CLEO, NEAREST, datanet="open")
    assert alike(database, vault, *waiting) == {0: first}


def test_what_waits_for_its_contributors_word_is_nothing_to_others_until_it_is_accepted(database, vault):
    first = give(database, vault, ADA, TEXT).first[0]

    def put(state: RecordState) -> None:
        database.write_now(lambda c: c.execute(update(RECORD).values(state=state)))

    put(RecordState.SCREENED)
    waiting = looked_at(database, vault, NEAR)
    assert alike(database, vault, *waiting) == {}
    put(RecordState.ACCEPTED)
    assert alike(database, vault, *waiting) == {0: first}


def test_what_was_erased_since_is_free_again(database, vault):
    first = give(database, vault, ADA, TEXT).first[0]
    give(database, vault, ADA, "a text of its own that nobody else has said before")
    waiting = looked_at(database, vault, NEAR)
    erased(database, vault, first)
    assert alike(database, vault, *waiting) == {}


def test_what_took_the_number_of_one_that_was_erased_since_is_seen(database, vault):
    last = give(database, vault, ADA, "a text of its own that nobody else has said before").first[0]
    waiting = looked_at(database, vault, NEAR)
    erased(database, vault, last)
    since = give(database, vault, ADA, TEXT).first[0]
    assert alike(database, vault, *waiting) == {0: since}


def edited(text: str, count: int, rng: random.Random) -> str:
    words = text.split()
    for place in rng.sample(range(len(words)), count):
        words[place] = rng.choice(WORDS)
    return " ".join(words)


def sentences(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choice(WORDS) for _ in range(20)) for _ in range(count)]


def erase(database: Database, vault: Vault, name: str) -> None:
    record = of(database, name)
    database.write_now(lambda c: store_erasures.begin(c, vault, record, "operations/e", 6000, reason="", told=""))


def of(database: Database, name: str):
    _, datanet, _, record = name.split("/")
    return database.read_now(lambda c: store_records.get(c, datanet, record))


def count(database: Database, table) -> int:
    return database.read_now(lambda c: c.execute(select(func.count()).select_from(table)).scalar_one())


@pytest.mark.parametrize("datanet", DATANETS)
def test_what_reads_like_anothers_earlier_record_in_any_datanet_is_told_where_the_owner_asks_for_that(
    database, vault, datanet
):
    first = give(database, vault, ADA, "something else that nobody else is going to say here", TEXT, datanet=datanet)
    found = give(database, vault, BOB, NEAR, "what this says has no more than these words of its own to say", NEAREST)
    assert found.alike == {0: first.first[1], 2: first.first[1]}
    assert list(found.first) == [1]
    assert count(database, FIRST) == 3, "what is not taken is not written down as the first to say it"
    assert give(database, vault, BOB, NEAR, datanet="open").alike == {}
    assert give(database, vault, CLEO, TEXT.lower(), datanet="crediting").alike == {}


def test_what_says_the_same_is_a_duplicate_as_ever(database, vault):
    first = give(database, vault, ADA, TEXT).first[0]
    assert give(database, vault, BOB, f" {TEXT}\n") == Given({0: first}, {})
    assert give(database, vault, ADA, TEXT) == Given({0: first}, {})


def test_nobody_is_refused_for_what_it_said_first_itself(database, vault):
    own = give(database, vault, ADA, TEXT, NEAR).first
    assert len(set(own.values())) == 2
    give(database, vault, BOB, NEAREST, datanet="open")
    again = give(database, vault, ADA, TEXT.replace("calcium", "lime"))
    assert (list(again.first), again.alike) == ([0], {})


def test_the_first_of_all_that_are_alike_is_named(database, vault):
    first = give(database, vault, ADA, NEAR, datanet="open").first[0]
    give(database, vault, BOB, TEXT, datanet="open")
    assert give(database, vault, CLEO, NEAREST).alike == {0: first}
    assert give(database, vault, BOB, NEAREST).alike == {0: first}


def test_an_upload_of_the_same_text_twice_is_like_the_same_record(database, vault):
    first = give(database, vault, ADA, TEXT).first[0]
    assert give(database, vault, BOB, NEAR, NEAR).alike == {0: first, 1: first}


def test_texts_of_few_words_are_alike_where_they_have_the_same_words(database, vault):
    first = give(database, vault, ADA, "Low blood pressure.", "Fever").first
    found = give(database, vault, BOB, "low blood pressure", "High blood pressure.", "fever", "!")
    assert (found.alike, sorted(found.first)) == ({0: first[0]}, [1, 2, 3])


def test_who_adds_many_like_an_earlier_record_hides_nothing_and_little_is_kept_of_each_feature(database, vault):
    rng = random.Random(7)
    give(database, vault, BOB, *sentences(50, 1))
    first = give(database, vault, ADA, TEXT).first[0]
    flood = dict.fromkeys(edited(TEXT, 2, rng) for _ in range(60))
    give(database, vault, BOB, *flood, datanet="open")
    give(database, vault, BOB, *(edited(TEXT, 2, rng) for _ in range(60)), datanet="open")
    most = (
        select(func.count(POSTING.c.number))
        .group_by(POSTING.c.feature)
        .order_by(func.count(POSTING.c.number).desc())
        .limit(1)
    )
    assert database.read_now(lambda c: c.execute(most).scalar_one()) == store_likeness.KEPT
    for _ in range(5):
        assert give(database, vault, BOB, edited(TEXT, 2, rng)).alike == {0: first}


def test_an_erased_record_is_like_nothing_any_more_and_a_withdrawn_one_keeps_its_author(database, vault):
    erased, stays = give(database, vault, ADA, TEXT, sentences(1, 3)[0]).first.values()
    withdrawn = of(database, stays)
    database.write_now(lambda c: store_records.move(c, withdrawn, RecordState.WITHDRAWN, "", 6000))
    erase(database, vault, erased)
    left = database.read_now(lambda c: c.execute(select(LIKENESS.c.record)).scalars().all())
    assert left == [withdrawn.id]
    assert count(database, POSTING) == BANDS
    found = give(database, vault, BOB, NEAR, edited(sentences(1, 3)[0], 2, random.Random(1)))
    assert (list(found.first), found.alike) == ([0], {1: stays})


def test_a_record_whose_key_is_overwritten_meanwhile_is_passed_over(database, vault):
    first = of(database, give(database, vault, ADA, TEXT).first[0])
    wrapped = database.read_now(lambda c: c.execute(select(KEY.c.wrapped)).scalar_one())
    assert give(database, vault, BOB, NEAR).alike == {0: first.name}
    vault.destroy(place_of_share(wrapped))
    assert give(database, vault, BOB, NEAR).alike == {}


def test_what_is_kept_says_nothing_without_the_vaults_key(database, vault, tmp_path):
    give(database, vault, ADA, TEXT)
    (row,) = database.read_now(lambda c: c.execute(select(LIKENESS)).all())
    plain = sealing.liken(vault, "r", vault.seal(b"", b"record r").wrapped, {"text": TEXT})
    assert plain.sketch[4:36] not in row.box
    kept = set(database.read_now(lambda c: c.execute(select(POSTING.c.feature)).scalars()))
    assert kept == set(plain.features)
    elsewhere = Vault(b"l" * 32, Shares(tmp_path / "others"))
    assert kept.isdisjoint(sealing.feature_tokens(elsewhere, Sketch.from_bytes(plain.sketch)))


def test_records_of_before_are_found_as_well_and_what_was_broken_off_goes_on(database, vault, monkeypatch):
    texts = sentences(560, 5)
    made = give(database, vault, ADA, *texts).first
    erase(database, vault, made[3])
    before = database.read_now(
        lambda c: c.execute(select(LIKENESS.c.record).order_by(LIKENESS.c.number)).scalars().all()
    )
    postings = count(database, POSTING)
    for table in (LIKENESS, POSTING):
        database.write_now(lambda c, t=table: c.execute(delete(t)))
    like, calls = sealing.liken, 0

    def dies(*arguments):
        nonlocal calls
        calls += 1
        if calls == 530:
            raise RuntimeError("the power went out")
        return like(*arguments)

    monkeypatch.setattr(sealing, "liken", dies)
    with pytest.raises(RuntimeError):
        liken.liken(database, vault)
    assert count(database, LIKENESS) == 500
    assert liken.liken(database, vault) == 59
    assert liken.liken(database, vault) == 0
    after = database.read_now(
        lambda c: c.execute(select(LIKENESS.c.record).order_by(LIKENESS.c.number)).scalars().all()
    )
    assert (after, count(database, POSTING)) == (before, postings)
    rng = random.Random(1)
    found = give(database, vault, BOB, *(edited(text, 3, rng) for text in texts[:40]))
    assert found.alike == {n: made[n] for n in range(40) if n != 3}


def test_records_that_nobody_can_open_keep_none_of_the_others_from_being_found(database, vault):
    lost, kept = give(database, vault, ADA, *sentences(2, 5)).first.values()
    broken = update(KEY).where(KEY.c.record == of(database, lost).id).values(wrapped=b"w" * 60)
    database.write_now(lambda c: c.execute(broken))
    for table in (LIKENESS, POSTING):
        database.write_now(lambda c, t=table: c.execute(delete(t)))
    assert liken.liken(database, vault) == 1
    assert give(database, vault, BOB, edited(sentences(2, 5)[1], 2, random.Random(1))).alike == {0: kept}


def race(database: Database, vault: Vault, variants: Sequence[Sequence[str]]) -> list[Given]:
    """All at once, each in an order of its own; what became of each, by the text's place."""
    results: dict[int, Given] = {}
    gate = threading.Barrier(len(variants))

    def run(runner: int) -> None:
        texts = variants[runner]
        order = random.Random(runner).sample(range(len(texts)), len(texts))
        gate.wait()
        for start in range(0, len(order), 100):
            part = order[start : start + 100]
            found = give(database, vault, f"0x{runner:040x}", *(texts[place] for place in part))
            mine = results.get(runner, Given({}, {}))
            results[runner] = Given(
                mine.first | {part[i]: name for i, name in found.first.items()},
                mine.alike | {part[i]: name for i, name in found.alike.items()},
            )

    threads = [threading.Thread(target=run, args=(runner,)) for runner in range(len(variants))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    return [results[runner] for runner in range(len(variants))]


def check_race(database: Database, results: Sequence[Given], texts: int) -> None:
    """Each text has one owner, whose record came first, and every other one was told of it."""
    for place in range(texts):
        owners = {found.first[place] for found in results if place in found.first}
        assert len(owners) == 1
        assert {found.alike[place] for found in results if place in found.alike} <= owners
        assert all((place in found.first) != (place in found.alike) for found in results)
    assert count(database, LIKENESS) == texts
    assert database.read_now(lambda c: store.get(c, "strict")).record_count == texts


def test_of_four_who_race_with_variants_of_the_same_texts_each_text_gets_one_author(database, vault):
    rng = random.Random(11)
    texts = sentences(25, 11)
    results = race(database, vault, [[edited(text, 1, rng) for text in texts] for _ in range(4)])
    check_race(database, results, 25)
    assert sum(len(found.alike) for found in results) == 75


@pytest.mark.parametrize("edits", (0, 1), ids=("same", "alike"))
def test_of_sixteen_who_race_with_the_same_500_records_each_record_gets_one_author(database, vault, edits):
    rng = random.Random(13)
    texts = sentences(500, 13)
    results = race(database, vault, [[edited(text, edits, rng) for text in texts] for _ in range(16)])
    check_race(database, results, 500)
