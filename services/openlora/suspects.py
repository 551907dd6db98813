"""Which requests may be killing the engine: who was in it when it died, and who may be in it beside whom since then.

Whoever was in the engine at a death is suspect for a while. Suspects are let in one at a time, and who was there at two
deaths only alone. Two deaths with nobody else inside are its doing: so no innocent is ever taken for it because of the
company it was in. Deaths by the machine's doing (no memory, an operator's kill) count as any other; suspicion ends with
an answer, or with time. Pure: what a request is, and the clock, come from whoever asks.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum

from services.openlora.engine import AdapterRef, EngineRequest


class Isolation(IntEnum):
    """In whose company a request may be."""

    NONE = 0
    """Anybody's."""
    APART = 1
    """Not another suspect's."""
    ALONE = 2
    """Nobody's."""


@dataclass(frozen=True, slots=True)
class _Record:
    deaths: int
    alone: int
    """Of these, with nobody else inside."""
    until: float


class Suspects:
    """Marks of requests, `keep` seconds after the last death they were there at, the latest `most` of them."""

    def __init__(self, keep: float = 600.0, most: int = 10_000) -> None:
        self._keep, self._most = keep, most
        self._records: dict[bytes, _Record] = {}
        """The earliest to end first."""
        self._inside: Counter[bytes] = Counter()
        self._waiting_alone = 0

    def poisonous(self, mark: bytes, now: float) -> float:
        """For how many more seconds a request is not let in, because the engine died of it; 0 if it is not so."""
        record = self._record(mark, now)
        return record.until - now if record and record.alone > 1 else 0.0

    def isolation(self, mark: bytes, now: float) -> Isolation:
        """The company that a request may be in."""
        record = self._record(mark, now)
        return Isolation(min(record.deaths, 2)) if record else Isolation.NONE

    @contextmanager
    def waiting(self, wanted: Isolation) -> Iterator[None]:
        """Within: a request waits to be let in. Who must be alone comes in before those who come after."""
        alone = wanted is Isolation.ALONE
        self._waiting_alone += alone
        try:
            yield
        finally:
            self._waiting_alone -= alone

    def may_enter(self, wanted: Isolation, now: float) -> bool:
        """Whether a request that may have this company can be with those that are inside."""
        if wanted is Isolation.ALONE:
            return not self._inside
        inside = max((self.isolation(other, now) for other in self._inside), default=Isolation.NONE)
        if self._waiting_alone or inside is Isolation.ALONE:
            return False
        return Isolation.NONE in (wanted, inside)

    def enter(self, mark: bytes) -> None:
        """A request is in the engine."""
        self._inside[mark] += 1

    def leave(self, mark: bytes) -> None:
        """A request is no longer in the engine."""
        self._inside -= Counter([mark])

    def answered(self, mark: bytes) -> None:
        """The engine lived through a request."""
        self._records.pop(mark, None)

    def died(self, now: float) -> None:
        """The engine died with those that are inside."""
        alone = len(self._inside) == 1
        for mark in self._inside:
            before = self._records.pop(mark, _Record(0, 0, now))
            self._records[mark] = _Record(before.deaths + 1, before.alone + alone, now + self._keep)
        while len(self._records) > self._most:
            del self._records[next(iter(self._records))]

    def _record(self, mark: bytes, now: float) -> _Record | None:
        record = self._records.get(mark)
        if record is not None and record.until <= now:
            del self._records[mark]
            return None
        return record


def request_mark(request: EngineRequest) -> bytes:
    """The same for requests that ask the engine for the same, whatever their ids."""
    adapter = request.adapter.digest if request.adapter else ""
    return _mark("request", request.prompt_token_ids, request.sampling, adapter)


def adapter_mark(adapter: AdapterRef) -> bytes:
    """Of loading an adapter."""
    return _mark("adapter", adapter.digest)


def _mark(*what: object) -> bytes:
    return hashlib.sha256(repr(what).encode()).digest()
