"""The embedded chain: a real EVM (py-evm) behind loopback JSON-RPC, for one machine without a node.

    python -m services.ledger.devchain --port 8545 --data chain.sqlite --fund 0x...

It executes and stores like a chain: signed transactions only, Prague rules, receipts, logs, state by Merkle-Patricia
tries. What it lacks on purpose: peers, a mempool (a transaction is mined when it arrives), reorganisations, and any
safety against whoever can reach its port with a funded key. Nothing of value belongs on it.
"""
