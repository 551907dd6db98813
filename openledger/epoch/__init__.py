"""Checks an epoch: from its published bundle to the root on chain, by a second implementation.

Documents, signatures, shares, netting, journals, leaves, roots and proofs are written here again, from docs/receipts.md
and docs/epochs.md, and share no code with what the ledger settles by; an import rule holds that nothing of `openledger`
but this folder is used.  A fault in one is not in the other.  Common are libraries alone.
"""
