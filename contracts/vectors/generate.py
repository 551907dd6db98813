"""Writes the test vectors that Solidity and Python must agree on: claim trees, and what payers and earners sign.

    python -m contracts.vectors.generate [--check]

The values come from the Python core; `contracts/test/Vectors.t.sol` recomputes every one with the contracts' own code,
so an error in either is found by the other. The keys are the numbers 1, 2, ...: test keys that hold nothing.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eth_account import Account

from openledger import spending
from openledger.claims import ClaimTree, keccak

HERE = Path(__file__).parent
CHAIN_ID = 31337
DISTRIBUTOR = "0x00000000000000000000000000000000000d1574"
ESCROW = "0x0000000000000000000000000000000000e5c401"
COIN = "0x00000000000000000000000000000000000709e4"
SIZES = (1, 2, 3, 5, 8, 13)


def claims() -> dict[str, Any]:
    """One tree per size: odd levels, a full binary tree, amounts from 1 unit to beyond 64 bits."""
    return {"chain_id": CHAIN_ID, "distributor": DISTRIBUTOR, "trees": [_tree(size) for size in SIZES]}


def _tree(size: int) -> dict[str, Any]:
    amounts = {"0x" + keccak(f"account {i}".encode())[:20].hex(): 1 + i * 10**18 * 7 ** (i % 20) for i in range(size)}
    tree = ClaimTree.build(CHAIN_ID, DISTRIBUTOR, amounts)
    leaves = [
        {
            "account": account,
            "cumulative": str(cumulative),
            "leaf": _hex(tree.leaf(account)),
            "proof": [_hex(sibling) for sibling in tree.proof(account)],
        }
        for account, cumulative in tree.amounts.items()
    ]
    return {"root": _hex(tree.root), "total": str(tree.total), "leaves": leaves}


def signatures() -> dict[str, Any]:
    """What payers and earners sign (spending, permits, transfers, claims elsewhere), digests and signatures."""
    payers = [(number, Account.from_key(number.to_bytes(32)).address.lower()) for number in (1, 2, 3)]
    amounts = (1, 25 * 10**18, 2**128 - 1)
    deadline = 2_000_000_000
    authorisations, permits, claimed, deposits, transfers = [], [], [], [], []
    for (number, payer), amount in zip(payers, amounts, strict=True):
        message = spending.authorisation_message(
            CHAIN_ID, ESCROW, spending.SpendingAuthorisation(payer, amount, deadline)
        )
        signed = _signed(message, number)
        authorisations.append({"payer": payer, "cap": str(amount), "deadline": str(deadline), **signed})
        permit = spending.permit_message(
            CHAIN_ID, COIN, owner=payer, spender=ESCROW, value=amount, nonce=0, deadline=deadline
        )
        permits.append({"owner": payer, "value": str(amount), "deadline": str(deadline), **_signed(permit, number)})
        for made, kind in ((deposits, spending.transfer_message), (transfers, spending.open_transfer_message)):
            nonce = keccak(f"{kind.__name__} {number}".encode())
            transfer = spending.Transfer(payer, ESCROW, amount, 1_600_000_000, deadline, nonce)
            made.append(_transfer(number, transfer, kind))
        claimed.append(_claim(number, spending.SignedClaim(payer, ESCROW, amount, amount // 10, deadline)))
    return {
        "chain_id": CHAIN_ID,
        "escrow": ESCROW,
        "token": COIN,
        "distributor": DISTRIBUTOR,
        "authorisations": authorisations,
        "permits": permits,
        "claims": claimed,
        "deposits": deposits,
        "transfers": transfers,
    }


def _claim(number: int, claim: spending.SignedClaim) -> dict[str, str]:
    fields = {
        "account": claim.account,
        "to": claim.to,
        "cumulative": str(claim.cumulative),
        "max_fee": str(claim.max_fee),
        "deadline": str(claim.deadline),
    }
    return fields | _signed(spending.claim_message(CHAIN_ID, DISTRIBUTOR, claim), number)


def _transfer(
    number: int, transfer: spending.Transfer, message: Callable[[int, str, spending.Transfer], dict[str, Any]]
) -> dict[str, str]:
    """One of ERC-3009: that its receiver alone can send, or anybody."""
    fields = {
        "from": transfer.payer,
        "to": transfer.to,
        "value": str(transfer.amount),
        "valid_after": str(transfer.valid_after),
        "valid_before": str(transfer.valid_before),
        "nonce": _hex(transfer.nonce),
    }
    return fields | _signed(message(CHAIN_ID, COIN, transfer), number)


def _signed(message: dict[str, Any], number: int) -> dict[str, str]:
    signature = spending.sign(message, number.to_bytes(32))
    return {"digest": _hex(spending.digest(message)), "signature": _hex(signature)}


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def main() -> int:
    """Writes the files, or with --check says which differ from what would be written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    check = parser.parse_args().check
    stale = []
    for name, content in (("claims.json", claims()), ("signatures.json", signatures())):
        text = json.dumps(content, indent=2) + "\n"
        path = HERE / name
        if check:
            stale += [] if path.is_file() and path.read_text() == text else [name]
        else:
            path.write_text(text)
    if stale:
        print(f"{', '.join(stale)} differ: run python -m contracts.vectors.generate", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
