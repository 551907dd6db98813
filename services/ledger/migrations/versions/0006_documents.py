"""Receipts' documents are kept by journal alone, and come before it: they are sent while receipts are decided on.

Which model, rule and number of placebos they are of stands in them, and is read when they are settled; an index over
these cost a seventh of booking.  On PostgreSQL the foreign keys of receipts looked every row up; a trigger does it once
a statement.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"

_NO_JOURNAL = "a receipt needs its journal"

_POSTGRESQL = (
    "ALTER TABLE receipt_document DROP CONSTRAINT receipt_document_journal_fkey",
    "ALTER TABLE receipt DROP CONSTRAINT receipt_journal_fkey",
    f"""
    CREATE FUNCTION journal_of_receipts() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT 1 FROM written LEFT JOIN journal ON journal.number = written.journal
                   WHERE journal.number IS NULL) THEN
            RAISE EXCEPTION '{_NO_JOURNAL}' USING ERRCODE = 'foreign_key_violation';
        END IF;
        RETURN NULL;
    END $$
    """,  # noqa: S608 - our own text
    """
    CREATE TRIGGER receipt_journaled AFTER INSERT ON receipt REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION journal_of_receipts()
    """,
)


def upgrade() -> None:
    op.drop_index("receipt_document_by_group", "receipt_document")
    for column in ("model", "rule", "placebos"):
        op.drop_column("receipt_document", column)
    if op.get_bind().dialect.name == "postgresql":
        for statement in _POSTGRESQL:
            op.execute(statement)
