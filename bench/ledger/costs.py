"""What settling costs on chain, from the gas of whole transactions that forge measured (contracts/snapshots).

    python -m bench.ledger.costs       the table of docs/settlement.md, as Markdown

A million rewards, by answers to a thousand payers, for ten thousand accounts, of which one in ten collects in an epoch;
what the others earned is in their cumulative leaf the next time.  Gas prices and the price of ether are examples and no
forecast.  On rollups a fee for data comes on top, which these figures do not know.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SNAPSHOT = Path(__file__).parents[2] / "contracts" / "snapshots" / "transactions.json"
REWARDS, ACCOUNTS, COLLECTING, PAYERS = 1_000_000, 10_000, 1_000, 1_000
GWEI = (("0.01", 10**7), ("1", 10**9), ("20", 20 * 10**9))
"""A price of gas as people say it, and in wei."""
ETHER_IN_DOLLARS = 3_000

# As published: gas for each.
MERKLE_DISTRIBUTOR = 77_075
"""A claim of 100,000 leaves, by who holds the token already, without the deployment: its tests, at prices of 2020."""
SABLIER_CREATE, SABLIER_WITHDRAW = 110_000, 19_000
"""A Sablier stream: the lower ends of what its documentation gives."""


@dataclass(frozen=True)
class Way:
    """A way to pay that out, and its gas for an epoch."""

    name: str
    gas: int


def gas() -> dict[str, int]:
    """The snapshot: gas of whole transactions by name."""
    return {name: int(value) for name, value in json.loads(SNAPSHOT.read_text()).items()}


def figures() -> dict[str, float]:
    """The figures that the design names, in gas; of a claim and a voucher, for one account."""
    found = gas()
    return {
        "gas_root": found["root"],
        "gas_claim_1m": found["claim_depth20"],
        "gas_claim_sponsored": found["claim_many_50_depth20"] // 50,
        "gas_voucher": found["redeem_100"] // 100,
    }


def ways() -> list[Way]:
    """An epoch of ours, collected by nobody, some and all, beside others."""
    found, one = gas(), figures()
    fixed = int(one["gas_root"] + PAYERS * one["gas_voucher"])
    push = found["push_200"] // 200
    streams = ACCOUNTS * SABLIER_CREATE + COLLECTING * SABLIER_WITHDRAW
    return [
        Way("here: a root, a thousand payers redeemed, nobody collects", fixed),
        Way("and a thousand accounts collect, sponsored", fixed + COLLECTING * int(one["gas_claim_sponsored"])),
        Way("the same, their first claims ever", fixed + COLLECTING * found["claim_many_50_first_depth20"] // 50),
        Way("the same, each for itself", fixed + COLLECTING * int(one["gas_claim_1m"])),
        Way("all ten thousand collect, sponsored", fixed + ACCOUNTS * int(one["gas_claim_sponsored"])),
        Way("beside it: a transfer an account, in batches of 200", ACCOUNTS * push),
        Way("a transfer a reward, in batches of 200", REWARDS * push),
        Way("merkle-distributor, a thousand collect", COLLECTING * MERKLE_DISTRIBUTOR),
        Way("a Sablier stream an account, a thousand withdraw", streams),
    ]


def rows() -> Iterator[dict[str, object]]:
    """Of each way: gas, and at each gas price ether and dollars."""
    for way in ways():
        ether = {f"ether_at_{name}_gwei": _ether(way.gas * wei) for name, wei in GWEI}
        dollars = {f"dollars_at_{name}_gwei": _dollars(way.gas * wei) for name, wei in GWEI}
        yield {"way": way.name, "gas": way.gas, "gas_a_reward": round(way.gas / REWARDS, 3)} | ether | dollars


def table() -> str:
    """The rows as Markdown, as docs/settlement.md has them."""
    prices = " | ".join(f"{name} gwei" for name, _ in GWEI)
    lines = [f"| an epoch of a million rewards | gas | a reward | {prices} |", "|---|---|---|" + "---|" * len(GWEI)]
    for row in rows():
        pairs = [(row[f"ether_at_{name}_gwei"], row[f"dollars_at_{name}_gwei"]) for name, _ in GWEI]
        costs = " | ".join(f"{ether} (${dollars:,.2f})" for ether, dollars in pairs)
        lines.append(f"| {row['way']} | {row['gas']:,} | {row['gas_a_reward']:,} | {costs} |")
    return "\n".join(lines) + "\n"


def _dollars(wei: int) -> float:
    return round(wei * ETHER_IN_DOLLARS / 10**18, 2)


def _ether(wei: int) -> str:
    return f"{wei / 10**18:.3g}" if wei < 10**18 else f"{wei / 10**18:,.1f}"


if __name__ == "__main__":
    sys.stdout.write(table())
