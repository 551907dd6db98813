"""A struck root that the chain brought back."""

from __future__ import annotations

import pytest

from openledger.abi import encode_call
from services.kit.metrics import Metrics
from services.ledger.chain import Epoch as Root
from services.ledger.store.epochs import Epoch, State
from services.ledger.struck import REASON, Struck
from tests.epoch_world import Somewhere

ME, SOMEBODY = "0x" + "1" * 40, "0x" + "2" * 40
SEALED = Epoch(3, 2, State.SEALED, "aa" * 32, "", 1, 1, 1, "o")


class Node(Somewhere):
    """A chain with a guardian, and a root or none."""

    def __init__(self, guardian, root):
        self._guardian, self.root = guardian, root

    def guardian(self):
        return self._guardian

    def epoch(self, number):
        return Root(number, bytes.fromhex(self.root), b"", 0, 1_000, 1) if self.root else None


class Writer:
    """Keeps what is planned."""

    def __init__(self):
        self.planned = {}

    async def plan(self, key, call, *, again):
        assert again
        self.planned[key] = call


@pytest.mark.parametrize("root", ("", SEALED.root))
async def test_nothing_is_done_where_no_other_root_is(root):
    writer = Writer()
    struck = Struck(Node(ME, root), writer, ME, Metrics("ledger"), confirmations=0)
    assert await struck.back(SEALED) == ""
    assert (writer.planned, struck._back._value.get()) == ({}, 0)


async def test_the_guardians_own_key_vetoes_it_again():
    writer, chain = Writer(), Node(ME, "bb" * 32)
    struck = Struck(chain, writer, ME, Metrics("ledger"), confirmations=0)
    assert "it is vetoed again" in await struck.back(SEALED)
    [(key, call)] = writer.planned.items()
    assert key == f"veto:3.2:{'bb' * 32}"
    assert call.data == encode_call("RewardsDistributor", "veto", 3, REASON)
    assert struck._back._value.get() == 1
    chain.root = ""
    assert await struck.back(SEALED) == ""
    assert struck._back._value.get() == 0


async def test_where_somebody_else_guards_people_are_told_and_by_when():
    writer = Writer()
    struck = Struck(Node(SOMEBODY, "bb" * 32), writer, ME, Metrics("ledger"), confirmations=0)
    assert "the guardian must veto it before 1000" in await struck.back(SEALED)
    assert (writer.planned, struck._back._value.get()) == ({}, 1)
