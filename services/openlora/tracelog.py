"""The log of traces: sealed when they come, opened for whom they concern, and how far Attribution has them.

Below it is a durable log.  A trace that went (services/openlora/retention.py) has left its account, so that nobody is
answered and charged twice under one request id.  Traces are what people are paid by: where Attribution falls too far
behind, nothing new is begun, and nothing is dropped.  So what a payer wants forgotten is told to nobody from then on
but to Attribution, and the keys to it are destroyed once that has everything.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import grpc

from openledger.trace import Trace
from services.kit.consumer import Page
from services.kit.database import Database
from services.kit.durable_log import MOST_BYTES, DurableLog, Entry
from services.kit.errors import Fault, exhausted, not_found, precondition
from services.kit.payer_keys import PayerKeys
from services.kit.sealing import DataKey
from services.kit.wait import whole
from services.openlora import sealing, store_traces
from services.openlora.question import answered_by
from services.openlora.sealing import Head

READER = "attribution"
_RETRY_SECONDS = 30.0


class AnothersLog(Exception):
    """The log has answers of another replica; the text says what to do."""


class TraceLog:
    """Traces by response, and in the order in which they came.

    `most_behind`: how many may wait for Attribution.  `replica`: whose answers all of them are.
    """

    def __init__(
        self, database: Database, log: DurableLog, keys: PayerKeys, *, most_behind: int, replica: str = ""
    ) -> None:
        self._database, self._log, self._keys, self._most_behind = database, log, keys, most_behind
        self.replica, self.epoch = replica, ""
        self._acknowledged = self._end = 0
        self._sealing: Counter[str] = Counter()
        """Traces that are being written, by name of the key."""
        self._last: dict[str, int] = {}
        """Of retired keys: an offset after which nothing comes that they have sealed."""

    async def open(self) -> None:
        """Find out where log and reader stand.  Call once, before anything else.  Raises `AnothersLog`."""
        head = await self._log.read(0, limit=0)
        self._end, self.epoch = head.high_watermark, head.epoch
        self._acknowledged = await self._database.read(lambda c: store_traces.acknowledged(c, READER))
        some = await self._database.read(lambda c: store_traces.some_answer(c, self._log.stream))
        if some is not None and answered_by(some) != self.replica:
            # Under another name what was asked before would be answered, and charged, anew.
            raise AnothersLog(
                f"its database has answers of {_called(answered_by(some))}, and this is {_called(self.replica)}: set "
                "OPENLEDGER_OPENLORA_REPLICA to what it was, or give this one a database of its own"
            )

    @property
    def acknowledged(self) -> int:
        """The offset up to which Attribution has everything for good."""
        return self._acknowledged

    @property
    def end(self) -> int:
        """The offset of the last trace, as far as is known."""
        return self._end

    @property
    def lag(self) -> int:
        """How many traces Attribution does not have yet."""
        return max(0, self._end - self._acknowledged)

    def check(self) -> None:
        """Raises `Fault` TRACES_BEHIND while too many answers wait to be attributed."""
        if self.lag >= self._most_behind:
            text = (
                f"{self.lag} answers wait to be attributed, so that their data's people can be paid; none is begun "
                "until there are fewer. Nothing was charged"
            )
            raise exhausted("TRACES_BEHIND", text, _RETRY_SECONDS, waiting=str(self.lag))

    async def append(self, trace: Trace) -> int:
        """Keep a trace; it is on disk when this returns its offset.  One that is there already has its old offset."""
        entry = _key(trace.response)
        key = await self._keys.of(trace.payer)
        self._sealing[key.name] += 1
        try:
            offset = await whole(self._log.append(entry, sealing.seal(trace, entry, key)))
        finally:
            self._sealing[key.name] -= 1
            if not self._sealing[key.name]:
                del self._sealing[key.name]
        self._end = max(self._end, offset)
        return offset

    async def get(self, key: str) -> Trace | None:
        """The trace of the response of that id; None where there never was one.

        Raises `Fault` ANSWER_EXPIRED or ANSWER_FORGOTTEN when it is not kept any more.
        """
        entry = await self._log.get(key)
        if entry is None:
            # After the log was asked and not before: what goes from there is here in the same moment.
            account = await self._account(key)
            if account is not None:
                raise _expired(key, account)
            return None
        return await self._opened(entry)

    async def given(self, key: str, payer: str | None) -> Trace:
        """The trace of a payer's response; None: of anybody's.

        Raises `Fault` ANSWER_NOT_FOUND, ANSWER_ELSEWHERE, ANSWER_EXPIRED, ANSWER_FORGOTTEN.
        """
        if answered_by(key) != self.replica:
            raise self._elsewhere(key)
        entry = await self._log.get(key)
        account = sealing.head_of(entry.payload) if entry else await self._account(key)
        if account is None or payer not in (None, account.payer):
            text = f"there is no responses/{key}" + (f" that {payer} paid for" if payer else "")
            raise not_found("ANSWER_NOT_FOUND", text, response=f"responses/{key}")
        if entry is None:
            raise _expired(key, account)
        return await self._opened(entry)

    async def forget(self, payer: str) -> datetime:
        """Tell nobody any more what the payer was answered up to now, but Attribution; returns when that was."""
        await self._keys.retire(payer)
        return datetime.now(UTC)

    async def destroy(self) -> None:
        """Destroy the keys that payers took back, as far as Attribution has all that they have sealed."""
        for name in await self._keys.retired():
            if name not in self._last and not self._sealing[name]:
                self._last[name] = (await self._log.read(0, limit=0)).high_watermark
        gone = [name for name, last in self._last.items() if last <= self._acknowledged]
        if gone:
            await self._keys.destroy(gone)
            for name in gone:
                del self._last[name]

    async def destroy_unused(self) -> None:
        """Destroy the keys of texts that all have gone from the log."""
        first = (await self._log.read(await self._log.first() - 1, 1)).entries
        oldest = datetime.fromisoformat(sealing.head_of(first[0].payload).time) if first else None
        await self._keys.destroy_unused(oldest)

    async def read(self, after: int, limit: int = 100, wait: float = 0, most_bytes: int = MOST_BYTES) -> Page[Trace]:
        """Traces after an offset: at most `limit`, whose messages together have about `most_bytes`, and at least one.

        Waits up to `wait` seconds for the first one.  Raises `Fault` OFFSET_COMPACTED where they went, TRACE_FORGOTTEN
        where one cannot be opened any more.
        """
        batch = await self._log.read(after, limit, wait, most_bytes)
        self._end = max(self._end, batch.high_watermark)
        keys = await self._keys_of(batch.entries)
        traces = await asyncio.to_thread(lambda: [(entry.offset, _unseal(entry, keys)) for entry in batch.entries])
        return Page(traces, batch.high_watermark, batch.epoch)

    async def stands(self) -> Page[Trace]:
        """No traces, and where the log stands."""
        head = await self._log.read(0, limit=0)
        return Page([], head.high_watermark, head.epoch)

    async def acknowledge(self, offset: int) -> None:
        """Attribution has everything up to there for good.

        An offset that the log does not reach is not taken: its reader sees by the high watermark that this is an older
        copy of what it has read, and stops.
        """
        if offset <= self._acknowledged or offset > (await self._log.read(0, limit=0)).high_watermark:
            return
        await self._database.write(lambda c: store_traces.acknowledge(c, READER, offset))
        self._acknowledged = max(self._acknowledged, offset)

    async def _account(self, key: str) -> Head | None:
        return await self._database.read(lambda c: store_traces.account(c, key))

    def _elsewhere(self, key: str) -> Fault:
        maker = answered_by(key)
        text = (
            f"if there is a responses/{key}, {_called(maker)} gave it, and this is {_called(self.replica)}: ask that "
            "one. Its receipt and trace, once there are, are at Attribution"
        )
        return not_found("ANSWER_ELSEWHERE", text, response=f"responses/{key}", replica=maker, here=self.replica)

    async def _opened(self, entry: Entry) -> Trace:
        """For whom it concerns."""
        keys = await self._keys_of([entry])
        name = sealing.data_key_of(entry.payload)
        if name and (name not in keys or keys[name].retired):
            raise _forgotten(entry.key, sealing.head_of(entry.payload))
        return _unseal(entry, keys)

    async def _keys_of(self, entries: Sequence[Entry]) -> Mapping[str, DataKey]:
        return await self._keys.named({sealing.data_key_of(entry.payload) for entry in entries} - {""})


def _called(replica: str) -> str:
    return f"the replica {replica}" if replica else "the one without a name"


def _expired(key: str, account: Head) -> Fault:
    """An answer that was given, and whose text is not kept any more."""
    return _not_kept("ANSWER_EXPIRED", key, account, "its text is not kept any more")


def _forgotten(key: str, account: Head) -> Fault:
    """An answer that was given, and whose payer had it made unreadable."""
    return _not_kept("ANSWER_FORGOTTEN", key, account, "its payer had question and answer made unreadable for ever")


def _not_kept(reason: str, key: str, account: Head, why: str) -> Fault:
    text = (
        f"responses/{key} was answered at {account.time} and charged {account.fee}; {why}. "
        "To ask again, or something else, take a new request_id"
    )
    told = {name: str(value) for name, value in vars(account).items() if name not in ("payer", "lease")}
    return precondition(reason, text, response=f"responses/{key}", **told)


def _key(response: str) -> str:
    return response.removeprefix("responses/")


def _unseal(entry: Entry, keys: Mapping[str, DataKey]) -> Trace:
    name = sealing.data_key_of(entry.payload)
    if name and name not in keys:
        text = (
            f"the trace at offset {entry.offset} cannot be opened any more: its payer had it made unreadable after "
            "whoever reads had said that it has it. What was lost since is not in this log any more"
        )
        raise Fault(grpc.StatusCode.OUT_OF_RANGE, "TRACE_FORGOTTEN", text, metadata={"offset": str(entry.offset)})
    return sealing.unseal(entry.payload, entry.key, keys[name].secret if name else b"")
