"""What the ledger keeps, and how it is asked for: one module a subject, functions over a connection, no decisions."""
