"""An epoch's bundle: all from which a stranger derives its root again, as Parquet files under one manifest.

Receipts as they were signed, the journals of answers, settlements and corrections, the leaves with those of the epoch
before, the terms, and the SHA-256 of the bundle before: docs/epochs.md has them field by field.  The same journals
give the same bytes; what was said of the chain is kept with the epoch for that, since the chain may say something else
later.  The manifest's SHA-256 is what the chain names.

A bundle is written from a sealed epoch, which does not change any more, into a folder of its own and from there into
the artifacts, the manifest last: broken off, it is written again.  `openledger.epoch` checks bundles and shares no
code with this.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import accumulate, chain, islice, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection

from openledger import canonical, trace
from openledger.artifacts import ArtifactStore
from services.kit import logs
from services.kit.ahead import ahead
from services.kit.database import Database, one_moment
from services.kit.metrics import Metrics
from services.ledger import split_book, splits
from services.ledger.chain import Chain, ChainUnavailable
from services.ledger.pen import Pen
from services.ledger.registries import Split
from services.ledger.splits import Change, Held
from services.ledger.store import corrections, epochs, leaf_pages, settlements
from services.ledger.store.epochs import Epoch, State

VERSION = "openledger.epoch.v5"
_PIECE = 5000
"""Rows written at once: what is held in memory of a million."""
NOT_READ = "the chain was not read lately: which splits hold is not known"


def _schema(**fields: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields.items()])


_POSTING = pa.struct([pa.field("book", pa.string(), nullable=False), pa.field("amount", pa.string(), nullable=False)])
_TEXT, _NUMBER = pa.string(), pa.int64()
RECEIPTS = _schema(journal=_NUMBER, document=pa.binary())
JOURNALS = _schema(
    number=_NUMBER, kind=_TEXT, key=_TEXT, payload_sha256=_TEXT, cause=_TEXT, postings=pa.list_(_POSTING)
)
LEAVES = _schema(account=_TEXT, before=_TEXT, waited=_TEXT, cumulative=_TEXT, waiting=_TEXT)


Columns = Sequence[Sequence[Any]]
"""Some rows of a table, column by column."""


class Bundles:
    """Writes bundles into the artifacts.

    `work`: a folder for files that are not whole yet, nobody else's.  `most`: what a root may add to the one before.
    `lag`: seconds around a change of a split in which either may be the one.
    """

    def __init__(
        self,
        database: Database,
        chain: Chain,
        artifacts: ArtifactStore,
        metrics: Metrics,
        work: Path,
        *,
        most: int,
        lag: int,
    ) -> None:
        self._database, self._chain, self._artifacts, self._work = database, chain, artifacts, work
        self._most, self._lag = most, lag
        shutil.rmtree(work, ignore_errors=True)  # what a killed process left
        self._log = logs.logger("ledger")
        buckets = (0.1, 1, 10, 60, 600, 3600)
        self._seconds = metrics.histogram("bundle_seconds", "How long writing an epoch's bundle took", buckets=buckets)

    async def waits(self, epoch: Epoch) -> str:
        """Why the epoch's bundle cannot be published now; empty where it can, or is."""
        ready = self._published(epoch) or await self._database.read(self._knows) is not None
        return "" if ready else NOT_READ

    def _published(self, epoch: Epoch) -> bool:
        return bool(epoch.bundle) and self._artifacts.has(str(epoch.bundle))

    async def publish(self, epoch: Epoch, pen: Pen) -> str:
        """Hex SHA-256 of the epoch's manifest, which is among the artifacts with all its files.

        Raises `ChainUnavailable` while the chain was not read lately: splits may be missing that it holds, as in the
        midst of a reorganisation, and the bundle would say so for good.
        Noted with the epoch by whoever has the pen then: by now it may be sealed again.
        """
        if self._published(epoch):
            return str(epoch.bundle)
        begun = time.monotonic()
        known, digest = await self._database.read(lambda c: self._written(c, epoch))
        said = canonical.dumps(json.loads(self._artifacts.get(digest))["splits"]).decode()

        def note(connection: Connection) -> None:
            if self._knows(connection) != known:
                raise ChainUnavailable(NOT_READ)  # or went back since, so that it holds other splits by now
            epochs.published(connection, epoch.number, digest, said)

        await self._database.write(pen.checked(note))
        self._seconds.observe(time.monotonic() - begun)
        self._log.info("epoch's bundle published", epoch=epoch.key, bundle=digest)
        return digest

    def _written(self, connection: Connection, epoch: Epoch) -> tuple[int, str]:
        one_moment(connection)
        known = self._knows(connection)
        if known is None:
            raise ChainUnavailable(NOT_READ)
        return known, self.write(connection, epoch)

    def _knows(self, connection: Connection) -> int | None:
        return split_book.read_as_of(connection, self._chain.contracts.escrow, self._lag)

    def write(self, connection: Connection, epoch: Epoch) -> str:
        """Write the bundle; returns its manifest's digest."""
        self._work.mkdir(parents=True, exist_ok=True)
        # One that lost its turn in the midst may still write here, while this one does.
        with TemporaryDirectory(dir=self._work) as folder:
            return self._write(connection, epoch, Path(folder))

    def _write(self, connection: Connection, epoch: Epoch, work: Path) -> str:
        before = epochs.newest(connection, State.ACTIVE)
        runs = settlements.of_epoch(connection, epoch.number)
        # None of an epoch that a version without settlements sealed: its bundle shows no receipts, and does not verify.
        above, through = (runs[0].above, runs[-1].through) if runs else (0, 0)
        terms = _Terms(cache(partial(split_book.history, connection)), self._lag)
        files = {
            "receipts.parquet": self._file(
                work, RECEIPTS, _columns(terms.seen(settlements.receipts(connection, above, through)))
            ),
            "journals.parquet": self._file(work, JOURNALS, _columns(_journals(connection, above, through))),
            "leaves.parquet": self._file(work, LEAVES, _leaves(connection, epoch, before)),
        }
        previous = {"epoch": str(before.number), "root": before.root, "bundle": before.bundle or ""} if before else None
        manifest = {
            "version": VERSION,
            "epoch": str(epoch.number),
            "chain_id": str(self._chain.chain_id),
            "distributor": self._chain.contracts.distributor.lower(),
            "terms": terms.document(),
            "splits": self._splits(connection, epoch, terms),
            "settlements": [{"name": run.name, "above": str(run.above), "through": str(run.through)} for run in runs],
            "corrections": [json.loads(signed) for signed in corrections.documents(connection, above, through)],
            "cap": str(self._most),
            "previous": previous,
            "files": files,
            "root": epoch.root,
            "log_root": epoch.log_root,
            "total": str(epoch.total),
        }
        return self._artifacts.put(canonical.dumps(manifest))

    def _splits(self, connection: Connection, epoch: Epoch, terms: _Terms) -> dict[str, Any]:
        """As in the manifest.  Once published they stay: what holds by the chain may be known better by now."""
        if (said := epochs.published_splits(connection, epoch)) is not None:
            return dict(json.loads(said))
        held = terms.held(int(epoch.create_time.timestamp()))
        return {"registry": self._chain.contracts.models.lower(), "lag": str(self._lag), "held": held}

    def _file(self, work: Path, schema: pa.Schema, pieces: Iterable[Columns]) -> dict[str, Any]:
        """A table among the artifacts.  While a piece is written, the next one is asked for."""
        place, count = work / "table", 0
        with pq.ParquetWriter(place, schema, compression="zstd", compression_level=3) as writer, ahead() as soon:
            for piece in pieces:
                columns = zip(piece, schema.types, strict=True)
                table = pa.Table.from_arrays([_array(*column) for column in columns], schema=schema)
                soon(writer.write_table, table)
                count += len(table)
        return {"sha256": self._artifacts.put_file(place), "rows": str(count)}


class _Terms:
    """By which rules and splits, for which platforms and signed by whom the receipts are that were seen."""

    def __init__(self, history: Callable[[str], Sequence[Held]], lag: int) -> None:
        """history: what held of a revision's splits, oldest first."""
        self._history, self._lag = history, lag
        self._splits: set[tuple[str, Split, Held]] = set()
        self._rules: set[bytes] = set()
        self._platforms: set[str] = set()
        self._signers: set[str] = set()

    def seen(self, receipts: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
        """The receipts, as they were."""
        for number, document in receipts:
            found = json.loads(document)
            self._rules.add(canonical.dumps(found["rule"]))
            self._platforms.add(found["platform"].lower())
            self._signers.add(found["signer"])
            self._see_split(found)
            yield number, document

    def _see_split(self, found: dict[str, Any]) -> None:
        revision, ended = found["model"]["adapter"], found.get("end_time")
        if not revision:
            return
        split, held = Split(found["rule"]["developer_bps"], found["rule"]["stakers_bps"]), self._history(revision)
        time = None if ended is None else trace.unix_seconds(ended)
        # By none of them, where the chain has taken back the one by which it was admitted: then the check says so.
        by = splits.used(held, split, time, self._lag) or held[0]
        self._splits.add((revision, split, by))

    def held(self, sealed: int) -> list[dict[str, Any]]:
        """The splits, as in the manifest.  Of what ended them, that which was known for sure at the sealing."""
        lines = [
            {
                "revision": revision,
                "developer_bps": split.developer_bps,
                "stakers_bps": split.stakers_bps,
                "since": None if by.since is None else _since(by.since),
                "until": None if by.until is None or by.until + self._lag > sealed else str(by.until),
            }
            for revision, split, by in self._splits
        ]
        return sorted(lines, key=canonical.dumps)

    def document(self) -> dict[str, Any]:
        """As in the manifest."""
        rules = [json.loads(rule) for rule in sorted(self._rules)]
        return {"rules": rules, "platforms": sorted(self._platforms), "signers": sorted(self._signers)}


def _since(change: Change) -> dict[str, str]:
    return {"time": str(change.time), "block": str(change.block), "transaction": change.tx_hash}


def _columns(rows: Iterable[tuple[Any, ...]]) -> Iterator[Columns]:
    left = iter(rows)
    while piece := list(islice(left, _PIECE)):
        yield list(zip(*piece, strict=True))


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """A column; of postings, whose values are books with their amounts, without a Python object for each."""
    if not pa.types.is_list(kind):
        return pa.array(values, kind)
    books, amounts = (list(chain.from_iterable(each)) for each in zip(*values, strict=True))
    offsets = list(accumulate((len(books) for books, _ in values), initial=0))
    postings = pa.StructArray.from_arrays([pa.array(books, _TEXT), pa.array(amounts, _TEXT)], fields=list(_POSTING))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), postings)


def _journals(connection: Connection, above: int, through: int) -> Iterator[tuple[Any, ...]]:
    for entry in settlements.entries(connection, above, through):
        yield entry.number, entry.kind, entry.key, entry.payload_sha256, entry.cause, (entry.books, entry.amounts)


def _leaves(connection: Connection, epoch: Epoch, before: Epoch | None) -> Iterator[Columns]:
    was = leaf_pages.leaves(connection, before.number) if before else {}
    waited = leaf_pages.waiting(connection, before.number) if before else {}
    now, waiting = leaf_pages.leaves(connection, epoch.number), leaf_pages.waiting(connection, epoch.number)
    accounts = sorted({**now, **waiting})
    for at in range(0, len(accounts), _PIECE):
        piece = accounts[at : at + _PIECE]
        yield [piece, *(list(map(str, map(of.get, piece, repeat(0)))) for of in (was, waited, now, waiting))]
