"""What the chain told of splits, on both databases: kept once, taken back, and told only while the chain was read."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from openledger.split import Rule
from services.kit.errors import Fault
from services.ledger.chain import ChainUnavailable
from services.ledger.registries import Split
from services.ledger.split_book import SplitBook
from services.ledger.store import epochs, splits
from tests.epoch_world import AT, PAYER, Ledger
from tests.intake_world import at
from tests.ledger_world import a_receipt

REVISION = "adapters/a/revisions/" + "c" * 64
OTHER = "adapters/b/revisions/" + "d" * 64
OWN = Rule()


@pytest.fixture
def ledger(database_url, tmp_path):
    found = Ledger(tmp_path, database_url)
    yield found
    found.database.close()


@pytest.fixture
def book(ledger):
    return SplitBook(ledger.database, AT, OWN, lag=600)


def parts(version) -> tuple[int, int, int]:
    split = version.split
    return split.developer_bps, split.stakers_bps, split.contributors_bps


def test_a_change_is_kept_once_and_goes_with_its_block(ledger):
    first, second = (ledger.hold(REVISION, Split(bps, 0), bps) for bps in (100, 200))
    ledger.hold(OTHER, Split(300, 0), 300)
    ledger.write(lambda c: splits.keep(c, replace(first, split=Split(7, 7))))

    def held(revision):
        found = ledger.database.read_now(lambda c: splits.of(c, revision.rpartition("/")[2]))
        return [(one.split.developer_bps, one.time, one.block, one.tx_hash) for one in found]

    assert held(REVISION) == [(100, 100, 1, first.tx_hash), (200, 200, 2, second.tx_hash)]
    ledger.write(lambda c: splits.forget_after(c, 1))
    assert (held(REVISION), held(OTHER)) == ([(100, 100, 1, first.tx_hash)], [])


async def test_the_split_of_a_time_is_told_with_from_when_to_when(ledger, book):
    ledger.read_chain(time.time())
    told = await book.at(REVISION, 50)
    assert (parts(told), told.HasField("start_time"), told.HasField("end_time")) == ((2000, 1000, 7000), False, False)
    assert told.rule_sha256 == OWN.digest()
    first, second = (ledger.hold(REVISION, Split(bps, 0), bps) for bps in (100, 200))
    before, between, after = [await book.at(REVISION, when) for when in (99, 199, 200)]
    assert (parts(before), before.end_time.ToSeconds(), before.transaction) == ((2000, 1000, 7000), 100, "")
    assert (parts(between), between.start_time.ToSeconds(), between.end_time.ToSeconds()) == ((100, 0, 9900), 100, 200)
    assert (between.transaction, between.block) == (first.tx_hash, 1)
    assert between.rule_sha256 == replace(OWN, developer_bps=100, stakers_bps=0).digest()
    assert (parts(after), after.transaction, after.HasField("end_time")) == ((200, 0, 9800), second.tx_hash, False)
    assert parts(await book.at(OTHER, 150)) == (2000, 1000, 7000)


async def test_all_of_them_are_told_page_by_page(ledger, book):
    ledger.read_chain(time.time())
    assert await book.page(REVISION, 0, "") == type(await book.page(OTHER, 0, ""))()
    for bps in range(1, 8):
        ledger.hold(REVISION, Split(bps, 0), 100 * bps)
    found, token = [], ""
    for size in (3, 3, 1):
        page = await book.page(REVISION, size, token)
        found += [one.split.developer_bps for one in page.splits]
        token = page.next_page_token
    assert (found, token) == ([1, 2, 3, 4, 5, 6, 7], "")
    assert not (await book.page(REVISION, 5, "99")).splits
    for bad in ("x", "-1", "1-2", "٣"):
        with pytest.raises(Fault, match="page_token"):
            await book.page(REVISION, 5, bad)


@pytest.mark.parametrize("age", (None, 301, 10**6))
async def test_while_the_chain_was_not_read_lately_nothing_is_told(ledger, book, age):
    ledger.hold(REVISION, Split(100, 0), 100)
    ledger.read_chain(None if age is None else time.time() - age)
    for asked in (book.at(REVISION, 150), book.page(REVISION, 0, "")):
        with pytest.raises(Fault) as caught:
            await asked
        assert (caught.value.reason, caught.value.retry_after) == ("CHAIN_NOT_READ", 5)
    ledger.read_chain(time.time() - 200)
    assert parts(await book.at(REVISION, 150))[0] == 100


async def test_a_clock_that_was_ahead_when_the_chain_was_read_says_nothing(ledger, book):
    ledger.read_chain(time.time() + 400)
    with pytest.raises(Fault, match="not read to its end lately"):
        await book.at(REVISION, 150)


async def test_while_a_reorganisation_is_read_no_bundle_is_published(ledger):
    """It would name this ledger's own split for answers that were paid by one that the chain holds again at once."""
    ledger.give(a_receipt(PAYER, "leases/1", 10**18))
    epoch, pen = ledger.seal(), ledger.pen()
    for when in (None, time.time() - 301):
        ledger.read_chain(when)
        with pytest.raises(ChainUnavailable, match="was not read lately"):
            await ledger.bundles.publish(epoch, pen)
    ledger.read_chain(time.time())
    assert ledger.check(await ledger.bundles.publish(epoch, pen)).ok


async def test_a_bundle_that_is_written_again_says_of_splits_what_it_said(ledger):
    now = int(time.time())
    ledger.give(a_receipt(PAYER, "leases/1", 10**18, end_time=at(now - 20)))
    ledger.seal()
    pen = ledger.pen()
    digest = await ledger.bundles.publish(ledger.database.read_now(epochs.newest), pen)
    ledger.artifacts._place(digest).unlink()
    ledger.hold(REVISION, Split(OWN.developer_bps, OWN.stakers_bps), now - 30)
    assert await ledger.bundles.publish(ledger.database.read_now(epochs.newest), pen) == digest
    assert ledger.manifest(digest)["splits"]["held"][0]["since"] is None


async def test_a_bundle_in_whose_writing_the_chain_went_back_is_not_published(ledger, monkeypatch):
    ledger.give(a_receipt(PAYER, "leases/1", 10**18))
    epoch, pen, real = ledger.seal(), ledger.pen(), ledger.bundles.write

    def write(connection, epoch):
        ledger.read_chain(None)
        return real(connection, epoch)

    monkeypatch.setattr(ledger.bundles, "write", write)
    with pytest.raises(ChainUnavailable, match="was not read lately"):
        await ledger.bundles.publish(epoch, pen)
    assert ledger.database.read_now(lambda c: epochs.get(c, 1)).bundle is None


async def test_a_bundle_in_whose_writing_the_chain_went_back_is_not_published_though_it_is_read_again(
    ledger, monkeypatch
):
    ledger.hold(REVISION, Split(100, 0), 100)
    ledger.give(a_receipt(PAYER, "leases/1", 10**18, end_time="2026-01-02T03:04:06.000000Z"))
    epoch, pen, real = ledger.seal(), ledger.pen(), ledger.bundles.write

    def write(connection, epoch):
        found = real(connection, epoch)
        ledger.go_back(0)
        ledger.hold(REVISION, Split(OWN.developer_bps, OWN.stakers_bps), 100)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(ledger.bundles, "write", write)
        with pytest.raises(ChainUnavailable, match="was not read lately"):
            await ledger.bundles.publish(epoch, pen)
    assert ledger.database.read_now(lambda c: epochs.get(c, 1)).bundle is None
    assert ledger.check(await ledger.bundles.publish(epoch, pen)).ok


async def test_a_bundle_is_of_the_moment_in_which_it_was_begun(ledger, monkeypatch):
    """On PostgreSQL each query would see what was committed by then."""
    ledger.give(a_receipt(PAYER, "leases/1", 10**18, end_time="2026-01-02T03:04:06.000000Z"))
    epoch, pen, real = ledger.seal(), ledger.pen(), ledger.bundles.write

    def write(connection, epoch):
        ledger.hold(REVISION, Split(OWN.developer_bps, OWN.stakers_bps), 100)
        return real(connection, epoch)

    monkeypatch.setattr(ledger.bundles, "write", write)
    digest = await ledger.bundles.publish(epoch, pen)
    assert [line["since"] for line in ledger.manifest(digest)["splits"]["held"]] == [None]
