"""That the books hold what the journals say, posting by posting: on demand, and where `checks` finds a fault.

    python -m services.ledger.check             says what does not agree; exit status 1 if something does not
    python -m services.ledger.check --rebuild   and makes the books what their postings say

Journals are what happened and are never changed; books are sums of them, kept so that nobody has to add.  Configured as
the service is.  What it does not know: why they differ.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from services.kit.config import load_or_exit
from services.kit.database import Database, SchemaError, bound_pause, one_moment
from services.ledger.config import LedgerConfig
from services.ledger.store import books, examine
from services.ledger.store.examine import Wrong

_COMPUTES_SECONDS = 300  # between two statements


@dataclass(frozen=True)
class Found:
    """What does not agree: journals by number, and books."""

    journals: list[int]
    books: list[Wrong]

    @property
    def ok(self) -> bool:
        """Whether everything agrees."""
        return not self.journals and not self.books

    @property
    def words(self) -> str:
        """What does not agree, and what to do; nothing if everything does."""
        if self.ok:
            return ""
        first = f"journals/{self.journals[0]} does not balance" if self.journals else f"{self.books[0].book} is wrong"
        return (
            f"the books are wrong ({len(self.journals)} journals, {len(self.books)} books: {first}): see "
            "docs/operating.md, and mend them with python -m services.ledger.check"
        )


def check(connection: Connection) -> Found:
    """Adds every posting there is, in one consistent view of the database."""
    one_moment(connection)
    return Found(examine.unbalanced(connection), examine.wrong(connection))


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m services.ledger.check", description=__doc__)
    parser.add_argument("--rebuild", action="store_true", help="make the books what their postings say")
    options = parser.parse_args(arguments)
    database = Database(load_or_exit(LedgerConfig).database)
    try:
        database.migrate(Path(__file__).parent / "migrations")
        found = database.read_now(check)
        if options.rebuild and found.books:
            database.write_now(_rebuild)
    except (SchemaError, ValueError) as error:  # what is no number raises ValueError where it is read
        sys.stderr.write(f"the books cannot be read: {error}\n")
        return 2
    finally:
        database.close()
    _say(found, rebuilt=options.rebuild)
    return 0 if found.ok or (options.rebuild and not found.journals) else 1


def _rebuild(connection: Connection) -> None:
    books.lock(connection)
    bound_pause(connection, _COMPUTES_SECONDS)
    examine.rebuild(connection)


def _say(found: Found, *, rebuilt: bool) -> None:
    for number in found.journals:
        sys.stdout.write(f"journals/{number}: its postings do not sum to zero\n")
    for one in found.books:
        now = "; rebuilt" if rebuilt else ""
        sys.stdout.write(f"{one.book}: holds {one.held.balance}, its postings say {one.posted.balance}{now}\n")
    if found.ok:
        sys.stdout.write("Every journal sums to zero, and every book holds what its postings say.\n")


if __name__ == "__main__":
    raise SystemExit(main())
