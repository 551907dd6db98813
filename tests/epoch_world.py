"""A ledger's books without the ledger: receipts are journaled, epochs closed, bundles written.  No chain, no gRPC."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import func, select, text, update

import services.ledger
from openledger import canonical
from openledger.artifacts import ArtifactStore
from openledger.client import Wallet
from openledger.epoch.report import Report
from openledger.epoch.verify import verify_epoch
from openledger.receipt import Receipt
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger import journal, leaves, netting, settle
from services.ledger.bundle import Bundles
from services.ledger.chain import Contracts, SplitHolds
from services.ledger.journal import Event
from services.ledger.pen import Pen
from services.ledger.registries import Split
from services.ledger.store import books, chain, epochs, leaf_pages, payers, settlements, splits
from services.ledger.store.books import Payout
from services.ledger.store.epochs import Epoch, State
from services.ledger.store.tables import SENDER, SPLIT_CHANGE

PAYER = Wallet("0x" + "07" * 32)
CHAIN_ID, AT = 31337, "0x" + "9" * 40
LAG = 600


class Somewhere:
    """All that a bundle says of the chain."""

    chain_id = CHAIN_ID
    contracts = Contracts(CHAIN_ID, 0, *[AT] * 5)


@dataclass
class Ledger:
    """Books on a database of their own, and the folder of artifacts."""

    folder: Path
    url: str = ""
    most: int = 2**128
    database: Database = field(init=False)

    def __post_init__(self) -> None:
        self.database = Database(self.url or f"sqlite:///{self.folder / 'ledger.db'}")
        self.database.migrate(Path(services.ledger.__file__).parent / "migrations")
        self.read_chain(time.time())
        self.artifacts = ArtifactStore(self.folder / "artifacts")
        place, metrics = self.folder / "work", Metrics("ledger")
        self.bundles = Bundles(self.database, Somewhere(), self.artifacts, metrics, place, most=self.most, lag=LAG)

    def pen(self, name: str = "one") -> Pen:
        """Taken; whoever had it has fallen silent."""
        self.write(lambda c: c.execute(update(SENDER).values(until=0)))
        found = Pen(self.database, PAYER.address, name, Metrics("pen"), seconds=60)
        assert found.take()
        return found

    def write(self, act: Any) -> Any:
        def locked(connection: Any) -> Any:
            books.lock(connection)
            return act(connection)

        return self.database.write_now(locked)

    def read_chain(self, when: float | None) -> None:
        """The chain was read to its end then; None: it was not."""
        self.write(lambda c: (chain.follow(c, AT, 1, "0x1"), chain.note_read_time(c, AT, when and int(when))))

    def go_back(self, block: int) -> None:
        """The chain took back what came after that block; what came instead is read by now."""
        self.write(lambda c: (splits.forget_after(c, block), chain.took_back(c, AT)))
        self.read_chain(time.time())

    def hold(self, revision: str, split: Split, begin: int) -> SplitHolds:
        """The chain told that a split of the revision holds from then on, one event a block."""
        digest = revision.rpartition("/")[2]

        def act(c: Any) -> SplitHolds:
            block = 1 + (c.execute(select(func.max(SPLIT_CHANGE.c.block))).scalar() or 0)
            told = SplitHolds(digest, split, begin, block, f"0x{block:064x}", f"0x{block + 999:064x}", 0)
            splits.keep(c, told)
            return told

        return self.write(act)

    def give(self, *receipts: Receipt) -> None:
        """Journal them, whatever leases say; the money is there."""

        def act(c: Any) -> None:
            for found in receipts:
                books.post(c, journal.deposit(Event("0x" + found.digest(), "0x1", 0), PAYER.address, found.fee or 1))
                number = books.post(c, journal.inference(found))
                kept = Payout(found.response, found.digest(), PAYER.address, found.fee, found.shares, frozenset(), None)
                books.keep_receipt(c, number, kept)
                with settlements.keeping(c) as keep:
                    keep(number, found.dumps())

        self.write(act)

    def spent(self, amount: int) -> None:
        """What leases would have charged the payer."""

        def act(c: Any) -> None:
            payers.lock(c, PAYER.address)
            payers.set_spent(c, PAYER.address, amount)

        self.write(act)

    def seal(self) -> Epoch:
        """Seal what is open, under the next number, or again under a vetoed one's."""

        def act(c: Any) -> Epoch:
            last, before = epochs.newest(c), epochs.newest(c, State.ACTIVE)
            number, attempt = (last.number + 1, 1) if last else (1, 1)
            if last and last.state is State.VETOED:
                number, attempt = last.number, last.attempt + 1
            netting.net(c, number, attempt)
            was, now = leaf_pages.leaves(c, before.number) if before else {}, books.earned(c, journal.PAYABLE)
            receipts, given = epochs.open_receipts(c), leaves.capped(now, was, self.most)
            found = settle.seal(CHAIN_ID, AT, given.promised, was, receipts)
            sizes = len(receipts), len(found.leaves), found.total
            epoch = Epoch(number, attempt, State.SEALED, found.root, found.log_root, *sizes, "o")
            stored = epochs.store(c, epoch, found.leaves, given.waiting)
            assert leaves.derived(c, stored, self.most) == given
            return stored

        return self.write(act)

    def veto(self, epoch: Epoch) -> None:
        self.write(lambda c: (epochs.advance(c, epoch, State.VETOED), epochs.reopen(c, epoch.number)))

    def activate(self, epoch: Epoch) -> None:
        self.write(lambda c: epochs.advance(c, epoch, State.ACTIVE))

    def bundle(self, epoch: Epoch) -> str:
        digest = self.database.read_now(lambda c: self.bundles.write(c, epoch))
        self.write(lambda c: epochs.published(c, epoch.number, digest, json.dumps(self.manifest(digest)["splits"])))
        return digest

    def close(self, *receipts: Receipt) -> str:
        """Journal them, and close the epoch; the digest of its bundle."""
        self.give(*receipts)
        epoch = self.seal()
        digest = self.bundle(epoch)
        self.activate(epoch)
        return digest

    def forget_answers(self) -> None:
        """The books know no more which answers they have booked, and book them again."""

        def act(c: Any) -> None:
            c.execute(text("DROP TRIGGER IF EXISTS journal_unchanged"))
            c.execute(text("UPDATE journal SET key = key || '-old'"))
            c.execute(text("UPDATE receipt SET response = response || '-old'"))

        self.write(act)

    def check(self, digest: str, **more: Any) -> Report:
        return verify_epoch(self.artifacts.root, digest, **more)

    # What forgers do: they change a bundle and name its new bytes, so that no hash gives them away.

    def manifest(self, digest: str) -> dict[str, Any]:
        return json.loads(self.artifacts.get(digest))

    def forge(self, digest: str, **changes: Any) -> str:
        """The bundle with another manifest."""
        return self.artifacts.put(canonical.dumps(self.manifest(digest) | changes))

    def rows(self, digest: str, name: str) -> list[dict[str, Any]]:
        return pq.read_table(self.artifacts.path(self.manifest(digest)["files"][name]["sha256"])).to_pylist()

    def rewrite(self, digest: str, name: str, rows: Iterable[Mapping[str, Any]], **changes: Any) -> str:
        """The bundle with another table."""
        files, found = self.manifest(digest)["files"], list(rows)
        schema = pq.read_schema(self.artifacts.path(files[name]["sha256"]))
        schema = pa.schema([schema.field(column) for column in found[0]]) if found else schema
        place = self.folder / "forged.parquet"
        pq.write_table(pa.Table.from_pylist(found, schema), place)
        files[name] = {"sha256": self.artifacts.put_file(place), "rows": str(len(found))}
        return self.forge(digest, files=files, **changes)


def failed(report: Report) -> dict[str, str]:
    return {check.name: check.words for check in report.failed}
