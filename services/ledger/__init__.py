"""The Ledger: turns receipts into exact balances and settles them on an EVM chain."""
