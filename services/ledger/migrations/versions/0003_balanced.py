"""The database itself refuses a journal whose postings do not sum to zero, and any change of what was written.

PostgreSQL weighs all journals of a statement at its end.  SQLite's triggers see one row at a time, and it cannot add
what does not fit 64 bits: there postings come before their journal, which is weighed when it joins them, in limbs of
twelve digits; the foreign key, deferred to the commit, lets no posting stay without one.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

_UNBALANCED = "the postings of a journal do not sum to zero"
_CLOSED = "a journal that was written gets no more postings"
_NO_JOURNAL = "a posting needs its journal"
_APPEND_ONLY = "what was journaled is never changed: write another journal"
_FIXED = "number, kind, key, payload_sha256, cause, create_time"

_LIMBS, _DIGITS = 7, 12  # 84 digits, and sums over millions of postings still fit 64 bits


def upgrade() -> None:
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _sqlite():
        op.execute(statement)


_POSTGRESQL = (
    # What it guarded is guarded below, once a statement instead of once a row: half of the time of a page.
    "ALTER TABLE posting DROP CONSTRAINT posting_journal_fkey",
    f"""
    CREATE FUNCTION weigh_postings() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT 1 FROM written GROUP BY journal HAVING sum(amount) <> 0) THEN
            RAISE EXCEPTION '{_UNBALANCED}' USING ERRCODE = 'check_violation';
        END IF;
        IF EXISTS (SELECT 1 FROM written WHERE journal <= (SELECT max(journals) FROM head)) THEN
            RAISE EXCEPTION '{_CLOSED}' USING ERRCODE = 'check_violation';
        END IF;
        IF EXISTS (SELECT 1 FROM (SELECT DISTINCT journal FROM written) AS named
                   LEFT JOIN journal ON journal.number = named.journal WHERE journal.number IS NULL) THEN
            RAISE EXCEPTION '{_NO_JOURNAL}' USING ERRCODE = 'check_violation';
        END IF;
        RETURN NULL;
    END $$
    """,  # noqa: S608 - our own text
    f"""
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '{_APPEND_ONLY}' USING ERRCODE = 'check_violation';
    END $$
    """,
    """
    CREATE TRIGGER posting_balanced AFTER INSERT ON posting REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION weigh_postings()
    """,
    """
    CREATE TRIGGER posting_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON posting
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """,
    f"""
    CREATE TRIGGER journal_append_only BEFORE UPDATE OF {_FIXED} OR DELETE OR TRUNCATE ON journal
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """,
)


def _sqlite() -> tuple[str, ...]:
    def refuse(name: str, when: str, words: str) -> str:
        return f"CREATE TRIGGER {name} {when} BEGIN SELECT RAISE(ABORT, '{words}'); END"

    closed = "BEFORE INSERT ON posting WHEN EXISTS (SELECT 1 FROM journal WHERE number = NEW.journal)"
    odd = "SELECT 1 FROM posting WHERE journal = NEW.number AND ltrim(amount, '-') GLOB '*[^0-9]*'"
    return (
        refuse("posting_closed", closed, _CLOSED),
        refuse("posting_balanced", f"AFTER INSERT ON journal WHEN {_not_zero()}", _UNBALANCED),
        refuse("posting_whole", f"AFTER INSERT ON journal WHEN EXISTS ({odd})", "an amount is not a whole number"),
        refuse("posting_unchanged", "BEFORE UPDATE ON posting", _APPEND_ONLY),
        refuse("posting_undeleted", "BEFORE DELETE ON posting", _APPEND_ONLY),
        refuse("journal_unchanged", f"BEFORE UPDATE OF {_FIXED} ON journal", _APPEND_ONLY),
        refuse("journal_undeleted", "BEFORE DELETE ON journal", _APPEND_ONLY),
    )


def _not_zero() -> str:
    """Whether the new journal's amounts do not sum to zero: with carries, some limb of the sum is not."""
    limbs = ", ".join(
        f"sum(sign * CAST(substr(digits, -{_DIGITS * (limb + 1)}, {_DIGITS}) AS INTEGER)) AS l{limb}"
        for limb in range(_LIMBS)
    )
    amounts = "SELECT ltrim(amount, '-') AS digits, CASE WHEN amount LIKE '-%' THEN -1 ELSE 1 END AS sign"
    carried, wrong = "0", []
    for limb in range(_LIMBS):
        total = f"(l{limb} + {carried})"
        wrong.append(f"{total} % {10**_DIGITS} <> 0" if limb < _LIMBS - 1 else f"{total} <> 0")
        carried = f"{total} / {10**_DIGITS}"
    rows = f"SELECT {limbs} FROM ({amounts} FROM posting WHERE journal = NEW.number)"  # noqa: S608 - our own text
    return f"EXISTS (SELECT 1 FROM ({rows}) WHERE {' OR '.join(wrong)})"  # noqa: S608 - our own text
