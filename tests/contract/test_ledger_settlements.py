"""What is settled together, and what was: the store of settlements on both databases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import services.ledger
from openledger import split
from openledger.client import Wallet
from openledger.receipt import Model
from openledger.split import Rule
from services.kit.database import Database
from services.ledger import journal, netting
from services.ledger.journal import Event
from services.ledger.store import books, epochs, settlements, settling
from services.ledger.store.books import Payout
from services.ledger.store.settlements import Settlement
from tests.books_world import data_of
from tests.ledger_world import a_receipt

PAYER = Wallet("0x" + "07" * 32)
FEE = 10**18 + 1
MODELS = tuple(f"adapters/{name}/revisions/" + name * 64 for name in "ab")
RULES = (Rule(), Rule(noise_z_milli=0))


@pytest.fixture
def database(database_url):
    database = Database(database_url)
    database.migrate(Path(services.ledger.__file__).parent / "migrations")
    yield database
    database.close()


def write(database, act):
    def locked(connection):
        books.lock(connection)
        return act(connection)

    return database.write_now(locked)


def keep(c, found, *, document: bool = True):
    """Journal a receipt, whatever leases say; the money is there."""
    books.post(c, journal.deposit(Event("0x" + found.digest(), "0x1", 0), PAYER.address, found.fee or 1))
    number = books.post(c, journal.inference(found))
    kept = Payout(found.response, found.digest(), PAYER.address, found.fee, found.shares, frozenset(), None)
    books.keep_receipt(c, number, kept)
    if document:
        with settlements.keeping(c) as keep_document:
            keep_document(number, found.dumps())


def give(database, *receipts):
    """A deposit and an answer each: the answers' journals have the even numbers."""
    write(database, lambda c: [keep(c, found) for found in receipts])


def answered(model: str = MODELS[0], rule: Rule = RULES[0], placebos: int = 2, fee: int = FEE):
    plain = a_receipt(PAYER, "leases/1", fee)
    evidence = replace(plain.evidence, placebos=(split.NAT // 1000,) * placebos)
    shares = split.split_fee(fee, plain.platform_fee, evidence, rule)
    at = Model("base", "b" * 64, model, "d" * 64)
    return a_receipt(PAYER, "leases/1", fee, model=at, rule=rule, evidence=evidence, shares=shares)


def entries(database):
    return database.read_now(lambda c: list(settlements.entries(c, 0, 10**6)))


def test_documents_are_read_in_the_order_of_their_journals(database):
    asked = [answered(), answered(MODELS[1]), answered(rule=RULES[1]), answered(placebos=3), answered()]
    give(database, *asked)
    found = database.read_now(lambda c: [d for piece in settlements.documents(c, 6) for d in piece])
    assert found == [receipt.dumps() for receipt in asked[3:]]
    assert database.read_now(lambda c: list(settlements.receipts(c, 2, 8))) == [
        (2 * place, asked[place - 1].dumps()) for place in (2, 3, 4)
    ]


def test_each_group_is_settled_by_itself_and_a_model_has_one_journal(database):
    asked = [answered(), answered(MODELS[1]), answered(rule=RULES[1]), answered(placebos=3), answered()]
    give(database, *asked)
    netted = write(database, lambda c: netting.net(c, 1, 1))
    assert (netted.models, netted.data) == (2, sum(map(data_of, asked)))
    wanted = {}
    for group in ([asked[0], asked[3], asked[4]], [asked[2]]):
        answers = [split.Answer(data_of(found), found.evidence) for found in group]
        for who, amount in split.settle(answers, group[0].rule).items():
            wanted[who] = wanted.get(who, 0) + amount
    first, second = (entry for entry in entries(database) if entry.kind == "settlement")
    assert [first.key, second.key] == [f"settlement:1.1:{model}" for model in MODELS]
    pool = journal.pool(MODELS[0])
    given, more = (dict(zip(entry.books, map(int, entry.amounts), strict=True)) for entry in (first, second))
    assert given == {
        pool: -sum(wanted.values()),
        **{journal.held(who) if who in split.NAMED else journal.payable(who): a for who, a in wanted.items()},
    }
    assert given[pool] + more[journal.pool(MODELS[1])] == -netted.data
    sums = database.read_now(lambda c: journal.conservation(books.every_posting(c)))
    assert (sums.fees, sums.pooled, sums.difference, sums.trial_balance) == (5 * FEE, 0, 0, 0)


def test_what_was_settled_is_not_settled_again(database):
    give(database, answered(), answered())
    first = write(database, lambda c: netting.net(c, 1, 1)).settlement
    again = write(database, lambda c: netting.net(c, 1, 2))
    assert (first, again.settlement) == (Settlement(1, 1, 0, 5), Settlement(1, 2, 5, 5))
    assert (again.models, again.data) == (0, 0)
    give(database, answered())
    third = write(database, lambda c: netting.net(c, 1, 3))
    assert (third.settlement, third.models) == (Settlement(1, 3, 5, 8), 1)
    assert database.read_now(lambda c: settlements.of_epoch(c, 1)) == [first, again.settlement, third.settlement]
    assert database.read_now(lambda c: settlements.of_epoch(c, 2)) == []


def test_a_settlement_that_is_undone_leaves_nothing(database):
    give(database, answered())

    def act(c):
        netting.net(c, 1, 1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write(database, act)
    assert database.read_now(settlements.last) == 0
    assert [entry.kind for entry in entries(database)] == ["inference"]
    assert write(database, lambda c: netting.net(c, 1, 1)).models == 1


def test_a_free_answer_is_journaled_and_shown_without_postings(database):
    give(database, answered(), a_receipt(PAYER, "leases/1", 0, shares={}))
    write(database, lambda c: netting.net(c, 1, 1))
    assert [bool(entry.books) for entry in entries(database)] == [True, False, True]
    assert all(sum(map(int, entry.amounts)) == 0 for entry in entries(database))


def test_a_receipt_of_before_there_were_documents_was_paid_as_it_was_booked(database):
    write(database, lambda c: keep(c, answered(), document=False))
    assert database.read_now(epochs.open_receipts) == []
    assert write(database, lambda c: netting.net(c, 1, 1)).models == 0


def test_a_settlement_pays_more_accounts_than_a_database_takes_parameters(database):
    amounts = {f"0x{number:040x}": number for number in range(1, 70_001)}
    write(database, lambda c: books.post(c, journal.settlement("1.1", MODELS[0], amounts)))
    assert database.read_now(lambda c: len(books.earned(c, journal.PAYABLE))) == 70_000
    assert database.read_now(lambda c: books.book(c, journal.payable(f"0x{70_000:040x}"))).balance == 70_000


def test_many_settlements_move_books_as_one_by_one(database, monkeypatch):
    monkeypatch.setattr(settling, "_TOGETHER", 4)
    people = [f"0x{number:040x}" for number in range(12)]
    before = journal.settlement("0.1", MODELS[0], dict.fromkeys(people[:6], 5))  # known books beside new ones
    write(database, lambda c: books.post(c, before))
    given = [journal.settlement("1.1", f"m{n}", dict.fromkeys(people[n:], n + 1)) for n in range(9)]
    write(database, lambda c: settling.move(c, settling.write(c, iter(given))))
    expected: dict[str, list[int]] = {}
    for entry in (before, *given):
        for book, amount in entry.postings.items():
            expected.setdefault(book, [0, 0])[amount < 0] += abs(amount)
    found = database.read_now(lambda c: books.sums(c, expected))
    assert {name: list(sums) for name, sums in found.items()} == expected
    assert [database.read_now(lambda c, e=e: books.entry(c, e.key)) for e in given] == given
    assert write(database, books.next_number) == len(given) + 2
    write(database, lambda c: settling.move(c, settling.write(c, iter(()))))
    assert write(database, books.next_number) == len(given) + 2


def test_what_settlements_move_is_exact_beyond_64_bits_and_in_any_order(database):
    people, big = [f"0x{number:040x}" for number in range(9)], 2**120 + 1
    write(database, lambda c: books.post(c, journal.settlement("0.1", MODELS[0], dict.fromkeys(people[:5], big))))
    given = journal.settlement("1.1", MODELS[0], {who: big + number for number, who in enumerate(people)})
    moved = write(database, lambda c: settling.write(c, [given]))
    assert moved == given.postings
    assert database.read_now(lambda c: books.book(c, journal.payable(people[0]))).credits == big, "nothing moved yet"
    write(database, lambda c: settling.move(c, dict(reversed(moved.items()))))
    found = database.read_now(lambda c: books.earned(c, journal.PAYABLE))
    assert found == {who: big + number + (big if number < 5 else 0) for number, who in enumerate(people)}
    assert database.read_now(lambda c: books.book(c, journal.pool(MODELS[0]))).debits == 14 * big + 36


def test_memory_for_many_pages_is_given_back(database):
    if not database.is_sqlite:
        return
    before = write(database, lambda c: c.exec_driver_sql("PRAGMA cache_size").scalar_one())
    given = journal.settlement("1.1", MODELS[0], {"0x" + "1" * 40: 1})
    write(database, lambda c: settling.move(c, settling.write(c, [given])))
    assert write(database, lambda c: c.exec_driver_sql("PRAGMA cache_size").scalar_one()) == before
