"""SQLite refuses an amount that is spelled otherwise than Python spells it, and a journal in another one's place.

The trigger of 0003 let pass what is no number ('', '-', '--5'), what goes on behind a NUL, another spelling ('05'), and
more digits than it weighs.  And INSERT OR REPLACE deletes without telling the trigger that forbids it.  PostgreSQL sees
to all of that by its type and triggers.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

from services.kit.database import SchemaError

revision = "0013"
down_revision = "0012"

_DIGITS = 78  # as of NUMERIC(78, 0)
_APPEND_ONLY = "what was journaled is never changed: write another journal"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        return
    _look()
    for statement in (
        "DROP TRIGGER posting_whole",
        f"""CREATE TRIGGER posting_whole AFTER INSERT ON posting WHEN NOT ({_whole("NEW.amount")})
            BEGIN SELECT RAISE(ABORT, 'an amount is not a whole number of at most {_DIGITS} digits'); END""",
        f"""CREATE TRIGGER journal_unreplaced BEFORE INSERT ON journal
            WHEN EXISTS (SELECT 1 FROM journal WHERE number = NEW.number OR key = NEW.key)
            BEGIN SELECT RAISE(ABORT, '{_APPEND_ONLY}'); END""",  # noqa: S608 - our own text
    ):
        op.execute(statement)


def _look() -> None:
    """Raises `SchemaError` where an amount is there already that would be refused from now on."""
    odd = f"NOT ({_whole('amount')}) ORDER BY journal, line LIMIT 1"
    query = f"SELECT journal, line, substr(quote(amount), 1, 100) AS amount FROM posting WHERE {odd}"  # noqa: S608
    found = op.get_bind().execute(text(query)).first()
    if found is not None:
        raise SchemaError(
            f"line {found.line} of journals/{found.journal} has the amount {found.amount}, which is not a whole number "
            f"of at most {_DIGITS} digits: something else than the ledger wrote it. Restore the database of before that"
        )


def _whole(amount: str) -> str:
    """Whether a text is 0, or digits that do not begin with one, of either sign.  `length` ends at a NUL."""
    digits = f"CASE WHEN substr({amount}, 1, 1) = '-' THEN substr({amount}, 2) ELSE {amount} END"
    seen = f"typeof({amount}) = 'text' AND length(CAST({amount} AS BLOB)) = length({amount})"
    spelled = f"{digits} GLOB '[1-9]*' AND {digits} NOT GLOB '*[^0-9]*' AND length({digits}) <= {_DIGITS}"
    return f"{seen} AND ({amount} = '0' OR ({spelled}))"
