"""A Datanet's own code over a database in a folder: uploads of texts, judged and taken as over gRPC."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Connection, func, select

from openledger import signing
from services.datanet import store, store_alike, store_records
from services.datanet.__main__ import MIGRATIONS
from services.datanet.declare import Declaration
from services.datanet.model import Datanet, Definition, Duplicates, Field, Policy
from services.datanet.shares import Shares
from services.datanet.tables import POSTING
from services.datanet.upload import Candidate, Limits, Room, Upload
from services.datanet.vault import Vault
from services.kit.database import Database

_AT_ONCE = 1_000
_RULES = Policy(duplicates=Duplicates.REFUSE)
_DATANET = Datanet(
    "bench", "0x" + "b" * 40, Definition("Bench", "MIT", fields=(Field("text"),), policy=_RULES), *[0] * 5
)


class Corpus:
    """Texts that were given, and by whom.  Use it as a context: it closes what it opened.

    taking: seconds of the transactions in which they were taken, which come one after the other.
    """

    def __init__(self, folder: Path) -> None:
        self.taking = 0.0
        self._database = Database(f"sqlite:///{folder}/datanet.db", erases=True)
        self._database.migrate(MIGRATIONS)
        self._vault = Vault(b"k" * 32, Shares(folder / "shares"))
        self._database.write_now(lambda c: store.add(c, _DATANET))

    def give(self, contributor: str, texts: Sequence[str], *, strict: bool = True) -> list[int]:
        """Places of texts that are refused for reading like another contributor's; the others are taken.

        strict: whether that is looked for.
        """
        refused: list[int] = []
        for start in range(0, len(texts), _AT_ONCE):
            word, candidates = self._upload(contributor, texts[start : start + _AT_ONCE])
            begun = time.perf_counter()
            alike = self._database.write_now(lambda c, w=word, cs=candidates: self._take(c, w, cs, strict))  # type: ignore[misc]
            self.taking += time.perf_counter() - begun
            refused += [start + index for index in alike]
        return refused

    def candidates(self, texts: Sequence[str]) -> list[Candidate]:
        """Texts of somebody who has given nothing yet, ready to be compared."""
        return self._upload("nobody", texts)[1]

    def found(self, candidates: Sequence[Candidate]) -> int:
        """How many of them read like an earlier text."""
        texts = [candidate.text for candidate in candidates]

        def ask(connection: Connection) -> int:
            looked = store_alike.look(connection, self._vault, texts)
            return len(store_alike.earlier(connection, self._vault, "nobody", _DATANET.id, texts, looked))

        return self._database.read_now(ask)

    def postings(self, candidates: Sequence[Candidate]) -> int:
        """Rows that are read to find what they may be like: of each feature, no more than are looked at."""
        read = 0
        for candidate in candidates:
            having = (
                select(func.count()).where(POSTING.c.feature.in_(candidate.text.features)).group_by(POSTING.c.feature)
            )
            counts = self._database.read_now(lambda c, q=having: c.execute(q).scalars().all())  # type: ignore[misc]
            read += sum(min(count, store_alike.KEPT) for count in counts)
        return read

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def _upload(self, contributor: str, texts: Sequence[str]) -> tuple[Declaration, list[Candidate]]:
        address = "0x" + contributor.encode().hex()[-40:].rjust(40, "0")
        word = Declaration("bench", address, b"r", len(texts), "MIT", signing.STATEMENT, str(uuid.uuid4()), b"s")
        upload = Upload(_DATANET, word, Limits(2**20, 2**30, _AT_ONCE * 10), Room(2**31), self._vault)
        for text in texts:
            upload.add({"text": text}, "")
        return word, upload.candidates

    def _take(
        self, connection: Connection, word: Declaration, candidates: Sequence[Candidate], strict: bool
    ) -> list[int]:
        looked = store_alike.look(connection, self._vault, [c.text for c in candidates]) if strict else None
        alike = store_records.read_alike(connection, self._vault, word, candidates, looked)
        store_records.take(connection, word, [c for c in candidates if c.index not in alike], 1)
        return sorted(alike)


@contextmanager
def corpus() -> Iterator[Corpus]:
    """An empty one, which is gone at the end."""
    with TemporaryDirectory(prefix="openledger-bench-") as folder:
        made = Corpus(Path(folder))
        try:
            yield made
        finally:
            made.close()
