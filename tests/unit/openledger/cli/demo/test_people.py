"""The demo's verbs, broken off and begun again: a deposit is made once, a question is answered once."""

from __future__ import annotations

from pathlib import Path

import pytest

from openledger import spending
from openledger.cli.demo import people
from openledger.cli.demo.state import State
from openledger.cli.installation import Installation
from openledger.client import Wallet
from openledger.ledger.v1 import ledger_pb2
from openledger.money import OPEN
from openledger.openlora.v1 import openlora_pb2 as pb

TOKEN, ESCROW = "0x" + "a" * 40, "0x" + "e" * 40


class Answering:
    """Stands for a client: so many requests were broken off before, by whatever ids they come."""

    def __init__(self, broken_off: int) -> None:
        self.openlora, self.broken_off, self.asked = self, broken_off, list[str]()
        self.Chat = None

    async def stream(self, _method, request, _timeout):
        if request.request_id not in self.asked:
            self.asked.append(request.request_id)
        cut = self.asked.index(request.request_id) < self.broken_off
        reason = pb.FINISH_REASON_CANCELLED if cut else pb.FINISH_REASON_STOP
        yield pb.AnswerChunk(response=f"responses/{request.request_id}", text="half" if cut else "whole")
        yield pb.AnswerChunk(response=f"responses/{request.request_id}", summary=pb.AnswerSummary(finish_reason=reason))


@pytest.mark.parametrize("broken_off", (0, 1, 3))
async def test_a_question_whose_answer_was_broken_off_is_put_anew(tmp_path: Path, broken_off):
    state, client = State(tmp_path / "state.json"), Answering(broken_off)
    for _ in range(2):  # and the next start finds the same answer
        response, text, summary = await people.ask(client, state, "base", "q1", "hm?", lambda _: None)
        assert (text, summary.finish_reason) == ("whole", pb.FINISH_REASON_STOP)
        assert response == f"responses/{client.asked[broken_off]}"
    assert len(client.asked) == broken_off + 1
    assert client.asked[0] == state.request_id("ask/q1")


class BrokenOff(Exception):
    """As by ctrl-C."""


class Paying:
    """Stands for a client, the ledger and the chain: what the payer holds, has deposited, and where it is cut off."""

    def __init__(self) -> None:
        self.wallet, self.ledger = Wallet("0x" + "11" * 32), self
        self.GetSettlementInfo, self.GetBalance, self.RelayDeposit, self.AuthoriseSpending = "info", "has", "pay", "may"
        self.held = self.deposited = self.spent = self.cap = self.given = self.nonce = 0
        self.until = ""

    async def call(self, method, request, _timeout=60):
        if method == "info":
            return ledger_pb2.SettlementInfo(chain_id=1, contracts={"OpenToken": TOKEN, "InferenceEscrow": ESCROW})
        if method == self.until:
            raise BrokenOff
        if method == "pay":
            value, nonce = int(request.amount), self.nonce
            typed = spending.permit_message(
                1, TOKEN, owner=self.wallet.address, spender=ESCROW, value=value, nonce=nonce, deadline=request.deadline
            )
            assert request.permit_signature == self.wallet.sign(typed)
            assert value <= self.held
            self.held, self.deposited, self.nonce = self.held - value, self.deposited + value, nonce + 1
        elif method == "may":
            self.cap = int(request.cap)
        spendable = min(self.deposited, self.cap - self.spent)
        return ledger_pb2.Balance(
            deposited=str(self.deposited), spent=str(self.spent), spendable=str(max(0, spendable))
        )

    def spend(self, amount: int) -> None:
        self.deposited, self.spent = self.deposited - amount, self.spent + amount

    def transfer(self, _wallet, token: str, to: str, amount: int) -> None:
        assert (token, to) == (TOKEN, self.wallet.address)
        if self.until == "give":
            raise BrokenOff
        self.held, self.given = self.held + amount, self.given + amount

    def token_balance(self, _token: str, _address: str) -> int:
        return self.held

    def permit_nonce(self, _token: str, _address: str) -> int:
        return self.nonce


@pytest.fixture
def paying(monkeypatch):
    client = Paying()
    monkeypatch.setattr(people, "Rpc", lambda _: client)
    return client


async def paid_in(client: Paying, folder: Path) -> ledger_pb2.Balance:
    installation = Installation(folder)
    installation.make()
    return await people.pay_in(client, State.load(folder / "state.json"), installation, 5 * OPEN)


@pytest.mark.parametrize("where", ("give", "pay", "may"))
async def test_a_deposit_that_was_broken_off_anywhere_is_made_once(tmp_path: Path, paying, where):
    paying.until = where
    with pytest.raises(BrokenOff):
        await paid_in(paying, tmp_path)
    paying.until = ""
    assert int((await paid_in(paying, tmp_path)).spendable) == 5 * OPEN
    assert (paying.given, paying.deposited, paying.held) == (5 * OPEN, 5 * OPEN, 0)


async def test_a_limit_that_has_ended_is_signed_anew_and_nothing_more_paid_in(tmp_path: Path, paying):
    await paid_in(paying, tmp_path)
    paying.cap = 0  # by the ledger's clock it is over
    assert int((await paid_in(paying, tmp_path)).spendable) == 5 * OPEN
    assert paying.given == 5 * OPEN


async def test_what_was_spent_is_paid_in_again_where_it_is_worth_it(tmp_path: Path, paying):
    await paid_in(paying, tmp_path)
    paying.spend(OPEN // 1000)
    assert int((await paid_in(paying, tmp_path)).spendable) == 5 * OPEN - OPEN // 1000
    assert paying.nonce == 1
    paying.spend(OPEN)
    assert int((await paid_in(paying, tmp_path)).spendable) == 5 * OPEN
    assert paying.given == 6 * OPEN + OPEN // 1000
