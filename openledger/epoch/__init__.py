"""Checks an epoch: from its published bundle to the root on chain, by a second implementation.

Shares, netting, journals, leaves and roots are written here again, from docs/receipts.md and docs/epochs.md, and share
no code with what the ledger settles by (`openledger.split`, `claims`, `merkle`; an import rule holds that): a fault in
one is not in the other.  Only canonical JSON and signatures are the common ones.
"""
