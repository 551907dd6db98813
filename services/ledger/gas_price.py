"""What gas costs now, and what the ledger's kinds of transactions cost at that.

Gas of a transaction is what forge measured of it whole, once storage is in use (contracts/snapshots, which a test holds
this to); of claims, in a tree of a million accounts.  The price is the newest block's base fee with the tip that the
node advises.  Money is told where the operator says what an ether is worth; nobody is asked for that.
"""

from __future__ import annotations

import asyncio
import time

from openledger.ledger.v1 import ledger_pb2
from services.kit.errors import unavailable
from services.ledger import wire
from services.ledger.chain import Chain, ChainUnavailable, NodeRefused, Price
from services.ledger.ether import Ether

MEASURED = {
    "claim": ("claim_depth20", 72_434),
    "first_claim": ("claim_first_depth20", 106_610),
    "signed_claim": ("claim_with_sig_depth20", 95_144),
    "deposit": ("deposit", 42_696),
    "permit_deposit": ("deposit_with_permit", 67_285),
    "transfer_deposit": ("deposit_with_authorization", 78_438),
    "transfer": ("transfer_with_authorization", 65_484),
    "root": ("root", 54_360),
    "redemption": ("redeem_100", 1_674_206),
    "snapshot": ("commit_snapshot", 72_605),
    "revision": ("register_revision", 132_171),
}
"""By transaction: its name in the snapshot, and its gas."""


class GasPrices:
    """`most`: what the ledger offers at most, wei a unit.  The node is asked once in `seconds`, whoever asks here."""

    def __init__(self, chain: Chain, ether: Ether | None, *, most: int, seconds: float) -> None:
        self._chain, self._ether, self._most, self._seconds = chain, ether, most, seconds
        self._known: tuple[float, Price] | None = None
        self._asking = asyncio.Lock()

    async def now(self) -> ledger_pb2.GasPrice:
        """As of now.  Raises `Fault` where the chain does not say."""
        price = await self._price()
        answer = ledger_pb2.GasPrice(
            chain_id=self._chain.chain_id, base_fee=str(price.base), tip=str(price.tip), most=str(self._most)
        )
        answer.time.CopyFrom(wire.moment(int(time.time())))
        if self._ether is not None:
            answer.currency, answer.ether_price = self._ether.currency, self._ether.price
        for name, (_, gas) in MEASURED.items():
            wei = gas * (price.base + price.tip)
            money = self._ether.worth(wei) if self._ether is not None else ""
            answer.costs.add(transaction=name, gas=gas, wei=str(wei), money=money)
        return answer

    async def _price(self) -> Price:
        async with self._asking:
            if self._known is None or time.monotonic() - self._known[0] >= self._seconds:
                try:
                    found = await asyncio.to_thread(self._chain.price)
                except (ChainUnavailable, NodeRefused) as error:
                    words = f"the chain does not say what gas costs: {error}"
                    raise unavailable("CHAIN_UNAVAILABLE", words, retry_after=5) from None
                self._known = time.monotonic(), found
            return self._known[1]
