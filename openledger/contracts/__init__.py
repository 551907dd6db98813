"""The settlement contracts as compiled: ABI, creation code, deployed code and where its immutables stand.

Written by `python contracts/build.py artifacts` from `contracts/src/`; read by `openledger.abi`.
"""
