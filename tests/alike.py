"""Uploads into a Datanet's store, judged and taken as over gRPC, for tests of what reads alike."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy import func, select

from openledger import signing
from services.datanet import store, store_alike, store_erasures, store_records, store_screenings
from services.datanet.__main__ import MIGRATIONS
from services.datanet.declare import Declaration
from services.datanet.likeness import Text
from services.datanet.model import Datanet, Definition, Duplicates, Field, Policy, Record, Visibility
from services.datanet.screen import Finding
from services.datanet.shares import Shares
from services.datanet.store_alike import Looked
from services.datanet.upload import Limits, Room, Upload
from services.datanet.vault import Vault
from services.kit.database import Database

ADA, BOB, CLEO = ("0x" + letter * 40 for letter in "abc")
TEXT = "A fracture of the left femur that came about without any fall or blow, as bones do that have lost calcium."
NEAR = TEXT.replace("left", "right").replace("any", "either")
NEAREST = TEXT.upper()
WORDS = [f"{a}{b}{c}" for a in "bcdfghkl" for b in "aeiou" for c in "mnprstvz"]
_ASKS = (Finding("personal_data", passed=False, reason="PERSONAL_DATA", message="it names Ada"),)


def _datanet(id_: str, rule: Duplicates, visibility: Visibility = Visibility.PUBLIC) -> Datanet:
    policy = Policy(duplicates=rule)
    said = Definition(id_, "MIT", fields=(Field("text"),), policy=policy, visibility=visibility)
    return Datanet(id_, ADA, said, 0, 0, 1, 1, 1)


DATANETS = {
    "strict": _datanet("strict", Duplicates.REFUSE),
    "open": _datanet("open", Duplicates.IGNORE),
    "crediting": _datanet("crediting", Duplicates.CREDIT),
    "closed": _datanet("closed", Duplicates.IGNORE, Visibility.PRIVATE),
}


@dataclass(frozen=True)
class Given:
    """What became of an upload: by index, the record that stands there, and those of others that were alike."""

    first: dict[int, str]
    alike: dict[int, str]


@dataclass
class Store:
    """Of a Datanet, with the datanets above.  Each upload comes at a time of its own."""

    database: Database
    vault: Vault
    clock: itertools.count[int] = field(default_factory=lambda: itertools.count(5_000))

    def open(self) -> None:
        self.database.migrate(MIGRATIONS)
        for datanet in DATANETS.values():
            self.database.write_now(lambda c, d=datanet: store.add(c, d))

    def close(self, datanet: str, visibility: Visibility = Visibility.PRIVATE) -> None:
        """Its owner makes it private."""
        said = replace(DATANETS[datanet].definition, visibility=visibility)
        self.database.write_now(lambda c: store.redefine(c, datanet, said, next(self.clock)))

    def upload(self, contributor: str, *texts: str, datanet: str = "strict") -> tuple[Declaration, Upload]:
        """One that is not taken yet."""
        request = str(uuid.uuid4())
        word = Declaration(datanet, contributor, b"r" * 32, len(texts), "MIT", signing.STATEMENT, request, b"s")
        upload = Upload(DATANETS[datanet], word, Limits(10**5, 10**7, 10**4), Room(10**9), self.vault)
        for text in texts:
            upload.add({"text": text}, "")
        return word, upload

    def looked(self, upload: Upload, *instead: Text) -> Looked | None:
        """What it is like, of all that is there by now, where its datanet's owner asks for that."""
        if upload.policy.duplicates is not Duplicates.REFUSE:
            return None
        texts = instead or [one.text for one in upload.candidates]
        return self.database.read_now(lambda c: store_alike.look(c, self.vault, texts))

    def alike(self, word: Declaration, upload: Upload, looked: Looked | None) -> dict[int, str]:
        found = self.database.write_now(
            lambda c: store_records.read_alike(c, self.vault, word, upload.candidates, looked)
        )
        return {index: earlier.name for index, earlier in found.items()}

    def give(self, contributor: str, *texts: str, datanet: str = "strict") -> Given:
        """As an upload is taken: compared first, then compared with what came since, and added."""
        word, upload = self.upload(contributor, *texts, datanet=datanet)
        looked, now = self.looked(upload), next(self.clock)

        def take(connection):
            alike = store_records.read_alike(connection, self.vault, word, upload.candidates, looked)
            others = [candidate for candidate in upload.candidates if candidate.index not in alike]
            first = store_records.take(connection, word, others, now)
            return Given(first, {index: earlier.name for index, earlier in alike.items()})

        return self.database.write_now(take)

    def wait(self, contributor: str, text: str, datanet: str = "strict") -> Record:
        """A record that waits for its contributor's word."""
        word, upload = self.upload(contributor, text, datanet=datanet)
        waits = [replace(one, waits=True, findings=_ASKS) for one in upload.candidates]
        (name,) = self.database.write_now(lambda c: store_records.take(c, word, waits, next(self.clock))).values()
        return self.of(name)

    def confirm(self, record: Record, text: str) -> str:
        """As its contributor confirms it; the record of another that it reads like, and is not taken for."""
        word, upload = self.upload(record.contributor, text, datanet=record.datanet)
        said = replace(upload.candidates[0].text, record=record.id, box=b"")

        def act(connection):
            looked, now = self.looked(upload, said), next(self.clock)
            found = store_records.reads_like(connection, self.vault, word, said, looked)
            if found is None:
                store_records.declared(connection, word, now)
                store_screenings.confirmed(connection, record.id, word.request_id, ())
                store_records.accept(connection, self.vault, record, said, now)
            return "" if found is None else found.name

        return self.database.write_now(act)

    def erase(self, name: str) -> None:
        record, operation = self.of(name), f"operations/{uuid.uuid4()}"
        self.database.write_now(
            lambda c: store_erasures.begin(c, self.vault, record, operation, 9000, reason="", told="")
        )

    def of(self, name: str) -> Record:
        _, datanet, _, record = name.split("/")
        return self.database.read_now(lambda c: store_records.get(c, datanet, record))

    def run(self, *statements) -> None:
        for statement in statements:
            self.database.write_now(lambda c, s=statement: c.execute(s))

    def count(self, table, *where) -> int:
        query = select(func.count()).select_from(table).where(*where)
        return self.database.read_now(lambda c: c.execute(query).scalar_one())


@contextmanager
def opened(database_url: str, folder: Path) -> Iterator[Store]:
    """An empty one."""
    database = Database(database_url, erases=True)
    store_ = Store(database, Vault(b"k" * 32, Shares(folder / "shares")))
    store_.open()
    try:
        yield store_
    finally:
        database.close()


def edited(text: str, count: int, rng: random.Random) -> str:
    """So many words exchanged."""
    words = text.split()
    for place in rng.sample(range(len(words)), count):
        words[place] = rng.choice(WORDS)
    return " ".join(words)


def shuffled(text: str, rng: random.Random) -> str:
    words = text.split()
    return " ".join(rng.sample(words, len(words)))


def sentences(count: int, seed: int) -> list[str]:
    """Of twenty words each, that have nothing to do with each other."""
    rng = random.Random(seed)
    return [" ".join(rng.choice(WORDS) for _ in range(20)) for _ in range(count)]
