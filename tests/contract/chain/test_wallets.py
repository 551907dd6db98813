"""Contract wallets that do what they like with the sender's gas, on both kinds of chain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from openledger.spending import SpendingAuthorisation, authorisation_message
from openledger.spending import sign as sign_typed
from services.kit.database import Database
from services.kit.metrics import Metrics
from services.ledger import calls, gas_bounds, redeem
from services.ledger.chain import Call
from services.ledger.chain_rpc import RpcChain
from services.ledger.chain_writer import ChainWriter
from services.ledger.pen import Pen
from services.ledger.redeem import Redeemer
from services.ledger.signing import Patience, signed_terms
from services.ledger.store import epochs
from services.ledger.store.epochs import Epoch, State
from services.ledger.store.payers import Unredeemed
from services.ledger.store.tables import METADATA, TRANSACTION
from tests.chains import BURNER, CHAIN_ID, OPEN, OPERATOR, PAYER, TWO_FACED, YES_MAN, creation, send

FAR = 4_000_000_000  # Unix seconds
BATCH = "epoch/1.1/000000"
EPOCH = Epoch(1, 1, State.SEALED, "", "", 1, 1, 1, "o")


class Redeeming:
    """An epoch's redemptions, step by step."""

    def __init__(self, folder: Path, chain: RpcChain) -> None:
        self.chain, self.database = chain, Database(f"sqlite:///{folder}/ledger.db")
        self.database.write_now(METADATA.create_all)
        pen = Pen(self.database, OPERATOR.address.lower(), "one", Metrics("pen"), seconds=600)
        assert pen.take()
        how = {"confirmations": 0, "poll_seconds": 0.05, "patience": Patience(10**12, 0)}
        self.writer = ChainWriter(self.database, chain, OPERATOR, pen, Metrics("ledger"), **how)  # type: ignore[arg-type]
        how = {"room": 0, "credit": 0, "poll_seconds": 0.05}
        self.redeemer = Redeemer(self.database, chain, self.writer, pen, Metrics("redeem"), **how)  # type: ignore[arg-type]

    async def done(self, lines: list[Unredeemed]) -> list[str]:
        """Redeem them; whose could not be."""
        self.database.write_now(lambda c: epochs.plan_redemption(c, BATCH, lines))
        for _ in range(30):
            if await self.redeemer.planned(EPOCH):
                late = self.database.read_now(lambda c: epochs.redemptions(c, redeem.late_batch(EPOCH)))
                return [line.payer for line in late]
            await self.writer.step()
        raise AssertionError("it is not over")

    def gas(self) -> list[tuple[int, int]]:
        """Of everything that was sent: what went with it, and the most that may."""
        rows = self.database.read_now(lambda c: c.execute(TRANSACTION.select()).all())
        sent = [row for row in rows if row.raw is not None]
        return [(signed_terms(row.raw)[0], gas_bounds.most(Call(row.to, row.data))) for row in sent]


@pytest.fixture
def redeeming(tmp_path: Path, chain: RpcChain) -> Iterator[Redeeming]:
    send(chain, calls.approve(chain.contracts, chain.contracts.escrow, 100 * OPEN))
    found = Redeeming(tmp_path, chain)
    yield found
    found.database.close()


def paid_in(chain: RpcChain, address: str) -> str:
    send(chain, calls.deposit_for(chain.contracts, address, OPEN))
    return address


def made(chain: RpcChain, code: bytes) -> str:
    """The address of a new contract with that code."""
    address = send(chain, Call(None, creation(code))).contract
    assert address is not None
    return address


def wallet(chain: RpcChain, code: bytes) -> Unredeemed:
    """A contract with that code that has spent half of its deposit."""
    return Unredeemed(paid_in(chain, made(chain, code)), OPEN // 2, OPEN, FAR, b"any")


def by_key(chain: RpcChain) -> Unredeemed:
    payer = paid_in(chain, PAYER.address.lower())
    typed = authorisation_message(CHAIN_ID, chain.contracts.escrow, SpendingAuthorisation(payer, OPEN, FAR))
    return Unredeemed(payer, OPEN // 2, OPEN, FAR, sign_typed(typed, PAYER.key))


@pytest.mark.parametrize("code", (BURNER, TWO_FACED), ids=("burner", "two-faced"))
async def test_they_keep_nobody_from_being_redeemed(redeeming: Redeeming, code: bytes) -> None:
    chain = redeeming.chain
    bad = [wallet(chain, code) for _ in range(3)]
    honest, good = by_key(chain), wallet(chain, YES_MAN)
    late = await redeeming.done([*bad, honest, good])
    assert sorted(late) == sorted(line.payer for line in bad)
    assert [chain.spent(line.payer) for line in (honest, good, *bad)] == [OPEN // 2] * 2 + [0] * 3
    assert chain.funded() == OPEN
    assert all(gas <= most for gas, most in redeeming.gas())


def counting(loops: int) -> bytes:
    """The code of a wallet that takes every signature once it has counted so far, at 26 gas each."""
    return bytes.fromhex(f"62{loops:06x}5b6001900380600457") + YES_MAN


def test_one_that_takes_more_than_its_part_to_say_yes_says_no(chain: RpcChain) -> None:
    """It could not be redeemed later: so what it signs is not taken to begin with."""
    dear, cheap = (made(chain, counting(gas_bounds.WALLET // gas)) for gas in (20, 40))
    answers = [chain.accepts_signature(address, b"d" * 32, b"any") for address in (dear, cheap)]
    assert answers == [False, True]
