"""Leaves in pages, on both databases: all of them, from one on, around one; and proofs from a page and the nodes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

import services.ledger
from openledger.claims import ClaimTree, leaf_hash, verify
from services.kit.database import Database
from services.kit.errors import Fault
from services.ledger.claims_book import ClaimsBook
from services.ledger.settle import PAGE
from services.ledger.store import epochs, leaf_pages
from services.ledger.store.epochs import Epoch, State

CHAIN_ID, AT = 31337, "0x" + "9" * 40
COUNTS = (1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 5 * PAGE + 3)


@pytest.fixture
def database(database_url):
    database = Database(database_url)
    database.migrate(Path(services.ledger.__file__).parent / "migrations")
    yield database
    database.close()


def amounts(count: int) -> dict[str, int]:
    """In no order of addresses, with an amount as large as can be."""
    return {f"0x{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**160:040x}": number for number in range(1, count)} | {
        "0x" + "7" * 40: 2**127
    }


def store(database, leaves, waiting=None, *, known: bool = True, number: int = 1):
    tree = ClaimTree.build(CHAIN_ID, AT, {who: amount for who, amount in leaves.items() if amount})
    epoch = Epoch(number, 1, State.ACTIVE, tree.root.hex(), "2" * 64, 1, len(leaves), 1, "operations/o")
    nodes = tree.subtrees(PAGE) if known else ()
    database.write_now(lambda c: epochs.store(c, epoch, leaves, waiting or {}, nodes))
    return tree


@pytest.mark.parametrize("count", COUNTS)
def test_what_was_kept_is_there_in_the_order_of_addresses(database, count):
    leaves, waiting = amounts(count), dict.fromkeys(amounts(3), 2**255)
    store(database, {**leaves, "0x" + "0" * 40: 0}, waiting)
    found = database.read_now(lambda c: leaf_pages.leaves(c, 1))
    assert list(found.items()) == sorted(leaves.items())
    assert database.read_now(lambda c: leaf_pages.waiting(c, 1)) == waiting
    assert database.read_now(lambda c: leaf_pages.leaves(c, 2)) == {}
    pages = database.read_now(lambda c: leaf_pages.nodes(c, 1))
    assert list(pages) == sorted(leaves)[::PAGE]
    database.write_now(lambda c: leaf_pages.drop(c, 1))
    assert database.read_now(lambda c: (leaf_pages.leaves(c, 1), leaf_pages.waiting(c, 1))) == ({}, {})


def test_from_any_account_on_and_around_it(database):
    leaves = amounts(2 * PAGE + 9)
    store(database, leaves)
    store(database, {"0x" + "f" * 40: 1}, number=2)
    order = sorted(leaves)
    for place in (0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, len(order) - 1):
        rest = database.read_now(lambda c, who=order[place]: list(leaf_pages.following(c, 1, who)))
        assert [who for who, _ in rest] == order[place + 1 :]
        page = database.read_now(lambda c, who=order[place]: leaf_pages.around(c, 1, who))
        assert list(page) == order[place // PAGE * PAGE :][:PAGE]
    lowest = "0x" + "0" * 40
    assert database.read_now(lambda c: list(leaf_pages.following(c, 1, lowest))) == sorted(leaves.items())
    assert database.read_now(lambda c: leaf_pages.around(c, 1, lowest)) == {}


@pytest.mark.parametrize("known", (True, False), ids=("nodes kept", "sealed before nodes were kept"))
@pytest.mark.parametrize("count", COUNTS)
async def test_a_page_and_the_nodes_prove_what_the_whole_tree_does(database, count, known):
    leaves = amounts(count)
    tree = store(database, leaves, known=known)
    chain = SimpleNamespace(chain_id=CHAIN_ID, contracts=SimpleNamespace(distributor=AT))
    book, order = ClaimsBook(database, chain), sorted(leaves)
    for who in {order[0], order[-1], order[len(order) // 2], order[(len(order) - 1) // PAGE * PAGE]}:
        found = await book.claimable(who)
        assert (found.cumulative, list(found.proof)) == (leaves[who], tree.proof(who))
        assert verify(tree.root, leaf_hash(CHAIN_ID, AT, who, found.cumulative), found.proof)
    with pytest.raises(Fault, match="no root that pays"):
        await book.claimable("0x" + "1" * 40)


async def test_a_newer_root_that_pays_is_proved_by_its_own_pages(database):
    store(database, amounts(PAGE + 1))
    chain = SimpleNamespace(chain_id=CHAIN_ID, contracts=SimpleNamespace(distributor=AT))
    book, who = ClaimsBook(database, chain), "0x" + "7" * 40
    await book.claimable(who)
    tree = store(database, {**amounts(3 * PAGE), who: 2**127 + 1}, number=2)
    found = await book.claimable(who)
    assert (found.epoch, list(found.proof)) == (2, tree.proof(who))
