"""Records that an app puts before its question: whose they are, how the model reads them, and the prompt without them.

A record is taken with the proof that it is its contributor's and in a snapshot: its canonical bytes name the
contributor, salt and bytes open the commitment, and a path leads from that to the snapshot's root.  Whether the root
is the snapshot's, the caller finds out (`services/openlora` asks the Datanet; the chain and manifests name roots).

Rendered is a record by one template, between an opening line and the question.  The opening and each record are
tokenised by themselves, so what the model would have read without some is the prompt less their tokens; without all,
the opening goes too.  Knows no tokenizer, no model and no money.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openledger import clusters, merkle, names, records
from openledger.visible import VERSION

TEMPLATE = "openledger.context.v1"
OPENING = "These records may help:\n\n"
MAX_RECORDS = 8
"""With a question: each costs a pass through the model to measure (docs/retrieval.md)."""
MAX_CHARACTERS = 8_000
"""Of one record's text."""
_MAX_PATH = 64
_SNAPSHOT = "datanets/*/snapshots/*"


class ContextError(ValueError):
    """Records that cannot stand before a question, or a trace that says they do where they do not."""


@dataclass(frozen=True)
class ContextRecord:
    """One record, as its contributor gave it, and where it stands in a snapshot.  contributor: lower-case address."""

    snapshot: str
    leaf: int
    size: int
    """Leaves of the snapshot's tree."""
    path: tuple[bytes, ...]
    contributor: str
    fields: Mapping[str, str]
    source: str
    salt: bytes

    @property
    def datanet(self) -> str:
        """The datanet's resource name."""
        return self.snapshot.partition("/snapshots/")[0]

    @property
    def text(self) -> str:
        """What the model reads of it: fields that say something, by id; a field that is alone without its id."""
        said = sorted((name, text) for name, text in self.fields.items() if text.strip())
        lines = [text for _, text in said] if len(said) == 1 else [f"{name}: {text}" for name, text in said]
        return "\n".join(lines) + "\n\n"

    def commitment(self) -> bytes:
        """SHA-256 over salt and canonical bytes.  Raises `ContextError` for what is no record."""
        try:
            return records.commitment(self.salt, records.canonical_bytes(self.contributor, self.fields, self.source))
        except ValueError as error:
            raise ContextError(str(error)) from error

    def check(self, root: bytes) -> None:
        """Raises `ContextError` unless this is a record of its contributor in the snapshot with that root."""
        try:
            names.match(_SNAPSHOT, self.snapshot)
        except ValueError as error:
            raise ContextError(str(error)) from error
        if not self.text.strip():
            raise ContextError("it says nothing: all of its fields are empty")
        if len(self.text) > MAX_CHARACTERS:
            raise ContextError(f"its text has {len(self.text)} characters, at most {MAX_CHARACTERS} are taken")
        proven = merkle.verify_inclusion(self.commitment(), self.leaf, self.size, self.path, root)
        if len(self.path) > _MAX_PATH or not proven:
            raise ContextError(
                f"it is not what {names.account(self.contributor)} gave as leaf {self.leaf} of {self.snapshot}: text, "
                "source, contributor, salt and proof must be those of the record, letter for letter"
            )


@dataclass(frozen=True)
class Placed:
    """A record in a prompt: `tokens` of it, and the root that it was checked against."""

    record: ContextRecord
    root: bytes
    tokens: int


@dataclass(frozen=True)
class Context:
    """Where records stand in a prompt: from token `start` on, `opening` tokens of the opening, then theirs in order."""

    start: int
    opening: int
    records: tuple[Placed, ...]
    compared: int = VERSION
    """The version of the form in which texts are compared, by which it is told whose they are: see `visible`."""

    @classmethod
    def lay(
        cls,
        before: Sequence[int],
        proven: Sequence[tuple[ContextRecord, bytes]],
        encode: Callable[[str], Sequence[int]],
    ) -> tuple[Context, tuple[int, ...]]:
        """Records, each with its snapshot's root, laid after the tokens `before`: where they stand, and the tokens."""
        opening, *texts = (tuple(encode(text)) for text in (OPENING, *(record.text for record, _ in proven)))
        placed = (Placed(*pair, len(text)) for pair, text in zip(proven, texts, strict=True))
        tokens = (token for piece in (before, opening, *texts) for token in piece)
        return cls(len(before), len(opening), tuple(placed)), tuple(tokens)

    @property
    def texts(self) -> tuple[str, ...]:
        """What is tokenised, piece by piece: the opening, and each record."""
        return (OPENING, *(placed.record.text for placed in self.records))

    def spans(self) -> Iterator[range]:
        """Where in the prompt the tokens of each of these pieces are."""
        at = self.start
        for count in (self.opening, *(placed.tokens for placed in self.records)):
            yield range(at, at + count)
            at += count

    def check(self, prompt: Sequence[int]) -> None:
        """Raises `ContextError` unless the records are proven, bounded, each there once, and within the prompt."""
        check_records([placed.record for placed in self.records])
        for number, placed in enumerate(self.records):
            try:
                placed.record.check(placed.root)
            except ContextError as error:
                raise ContextError(f"record {number}: {error}") from error
        sizes = (self.opening, *(placed.tokens for placed in self.records))
        if self.start < 0 or min(sizes) < 1 or self.start + sum(sizes) > len(prompt):
            raise ContextError("the records do not lie within the prompt")
        if sum(sizes) == len(prompt):
            raise ContextError("the prompt is nothing but records: there is no question")

    def check_tokens(self, prompt: Sequence[int], encode: Callable[[str], Sequence[int]]) -> None:
        """Raises `ContextError` unless the tokens at those places say what the records do.

        encode: the base model's tokens of a text, without control tokens.
        """
        for text, span in zip(self.texts, self.spans(), strict=True):
            if list(encode(text)) != list(prompt[span.start : span.stop]):
                raise ContextError(f"tokens {span.start} to {span.stop - 1} of the prompt do not say {text[:60]!r}")

    def authors(self) -> tuple[str, ...]:
        """Of each record the address that it is credited to: the first of those who said what it says.

        First within one datanet is the lower leaf, which is the order of registration; between datanets, for want of
        anything better, the one that the app named first.
        """
        found = [placed.record for placed in self.records]
        datanets = list(dict.fromkeys(record.datanet for record in found))
        order = sorted(range(len(found)), key=lambda n: (datanets.index(found[n].datanet), found[n].leaf))
        firsts = clusters.first((found[n].text for n in order), self.compared)
        by_text: dict[str, int] = {}  # of texts too short to be like another: those that are the same
        credited = [""] * len(found)
        for n, first in zip(order, firsts, strict=True):
            first_said = by_text.setdefault(records.comparable(found[order[first]].text, self.compared), order[first])
            credited[n] = found[first_said].contributor
        return tuple(credited)

    def without(self, prompt: Sequence[int], whose: Collection[str]) -> tuple[int, ...]:
        """The prompt less the records that are credited to those; less the opening too when no record is left."""
        gone = [author in whose for author in self.authors()]
        pieces = zip([all(gone), *gone], self.spans(), strict=True)
        taken = {place for leaves, span in pieces if leaves for place in span}
        return tuple(token for place, token in enumerate(prompt) if place not in taken)

    def bare(self, prompt: Sequence[int]) -> tuple[int, ...]:
        """The prompt without any record."""
        return self.without(prompt, frozenset(self.authors()))

    def to_json(self) -> dict[str, Any]:
        """As it stands in a trace."""
        return {
            "template": TEMPLATE,
            "start": self.start,
            "opening": self.opening,
            "records": [_to_json(placed) for placed in self.records],
            **({"compared": self.compared} if self.compared > 1 else {}),  # traces of before that do not say it
        }


def check_records(found: Sequence[ContextRecord]) -> None:
    """Raises `ContextError` for none, for too many, or for one that is there twice."""
    if not 1 <= len(found) <= MAX_RECORDS:
        raise ContextError(f"{len(found)} records: 1 to {MAX_RECORDS} can be passed with a question")
    seen: dict[bytes, int] = {}
    for number, record in enumerate(found):
        first = seen.setdefault(record.commitment(), number)
        if first != number:
            raise ContextError(f"record {number} is record {first} again: pass each once")


def from_json(document: Mapping[str, Any]) -> Context:
    """Raises `ValueError`, `KeyError` or `TypeError` for what is no context; `Context.check` looks at the rest."""
    if document["template"] != TEMPLATE:
        raise ContextError(f"records are rendered by {str(document['template'])[:60]!r}, known here is {TEMPLATE}")
    compared = known_version(_whole(document.get("compared", 1)))
    placed = tuple(_from_json(each) for each in document["records"])
    return Context(_whole(document["start"]), _whole(document["opening"]), placed, compared)


def known_version(compared: int) -> int:
    """The version of the form in which texts are compared.  Raises `ContextError` for one that is not known here."""
    if not 1 <= compared <= VERSION:
        raise ContextError(f"texts are compared by version {compared}, known here are 1 to {VERSION}")
    return compared


def _to_json(placed: Placed) -> dict[str, Any]:
    record = placed.record
    return {
        "snapshot": record.snapshot,
        "root": placed.root.hex(),
        "leaf": record.leaf,
        "size": record.size,
        "path": [node.hex() for node in record.path],
        "contributor": record.contributor,
        "fields": dict(record.fields),
        "source": record.source,
        "salt": record.salt.hex(),
        "tokens": placed.tokens,
    }


def _from_json(document: Mapping[str, Any]) -> Placed:
    fields = {_text(name): _text(text) for name, text in document["fields"].items()}
    if document["contributor"] != names.address(document["contributor"]):
        raise ContextError(f"{document['contributor']} is not written in lower case")
    record = ContextRecord(
        snapshot=_text(document["snapshot"]),
        leaf=_whole(document["leaf"]),
        size=_whole(document["size"]),
        path=tuple(map(bytes.fromhex, document["path"])),
        contributor=document["contributor"],
        fields=fields,
        source=_text(document["source"]),
        salt=bytes.fromhex(document["salt"]),
    )
    return Placed(record, bytes.fromhex(document["root"]), _whole(document["tokens"]))


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise ContextError(f"{str(value)[:60]!r} is not a whole number from 0")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ContextError(f"{str(value)[:60]!r} is not a text")
    return value
