"""What a contributor's record is in bytes, and how it is declared, hidden and proven.

A record's canonical bytes name its contributor, so that whoever opens a commitment also sees whose record it is.  In a
snapshot's tree stands the salted commitment alone: it says nothing to those without the salt (a bare hash of a short
text can be guessed), and says nothing any more to anybody once the salt is destroyed.

Knows nothing of datanets, files, databases or keys, and draws no randomness: the salt is its caller's.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping

from openledger import canonical, merkle, names
from openledger.visible import VERSION as COMPARED
from openledger.visible import visible

VERSION = "openledger.record.v1"
SALT_BYTES = 32


def canonical_bytes(contributor: str, fields: Mapping[str, str], source: str = "") -> bytes:
    """The one byte form of a record (RFC 8785), exactly as it was given: nothing is normalised.

    `contributor` is an address in any case; `fields` are texts by field id; `source` says where the record comes from.
    Raises `ValueError` when the address is none or a text is not Unicode.
    """
    document = {
        "version": VERSION,
        "contributor": names.address(contributor),
        "fields": dict(fields),
        "source": source,
    }
    return canonical.dumps(document)


def content_root(records: Iterable[bytes]) -> bytes:
    """What a declaration signs: RFC 6962 root over the records' canonical bytes, in the order of the upload."""
    return merkle.root(list(records))


def commitment(salt: bytes, record: bytes) -> bytes:
    """SHA-256(0x00 || salt || canonical bytes), 32 bytes.  Raises `ValueError` when the salt is not 32 bytes."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    return hashlib.sha256(b"\x00" + salt + record).digest()


def snapshot_root(commitments: Iterable[bytes]) -> bytes:
    """What a snapshot anchors: RFC 6962 root over the records' commitments, in the order of acceptance."""
    return merkle.root(list(commitments))


def fingerprint(fields: Mapping[str, str]) -> bytes:
    """SHA-256 by which exact duplicates are found, 32 bytes: the same for records that read the same.

    Compared are the texts alone, in canonical form and sorted: under which field id a datanet keeps a text, where it
    was taken from and who sent it make nothing new of it.  Empty texts do not count.
    """
    texts = sorted(text for text in map(comparable, fields.values()) if text)
    return hashlib.sha256(canonical.dumps(texts)).digest()


def comparable(text: str, version: int = COMPARED) -> str:
    """A text as duplicates are compared: as it is seen, NFC, white space as single blanks, case kept.

    version: of `visible`.
    """
    return " ".join(unicodedata.normalize("NFC", visible(text, version)).split())
