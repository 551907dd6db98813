"""What keeps the ledger from starting, and what it says then."""

from __future__ import annotations

import json

import pytest

from services.kit.server import StartError
from services.ledger.__main__ import assemble
from tests.ledger_world import OPEN, a_receipt, booked, close_epoch, lease, pay_in


async def refusal(world, **more) -> str:
    world.more |= more
    with pytest.raises(StartError) as caught:
        await assemble(world.config())
    return str(caught.value)


async def test_a_chain_that_is_away(world):
    said = await refusal(world, rpc_url="http://127.0.0.1:1")
    assert "http://127.0.0.1:1" in said
    assert "OPENLEDGER_LEDGER_RPC_URL" in said


async def test_another_chain_than_the_one_that_is_configured(world):
    assert "31337" in await refusal(world, chain_id=1337)


async def test_contracts_are_not_made_where_they_must_not_be(world):
    said = await refusal(world, deploy_contracts=False)
    assert "contracts.json" in said
    assert "OPENLEDGER_LEDGER_CONTRACTS_FILE" in said


async def test_a_contract_that_the_file_lacks_is_not_made_where_it_must_not_be(world):
    async with world.run():
        pass
    content = json.loads(world.config().deployment.read_text())
    del content["transactions"]["models"]
    world.config().deployment.write_text(json.dumps(content))
    assert "does not say where ModelRegistry is" in await refusal(world, deploy_contracts=False)


async def test_contracts_with_other_terms(world):
    async with world.run():
        pass
    assert "challenge_window was 1 and is now 7" in await refusal(world, challenge_window_seconds=7)


async def test_a_sender_without_ether(world):
    path = world.folder / "poor.key"
    said = await refusal(world, operator_key_file=path)
    assert "sender 0x" in said


async def test_a_key_that_everybody_can_read(world):
    world.key_file().chmod(0o644)
    assert "chmod 600" in await refusal(world)


async def test_a_database_that_is_older_than_the_chain(world, payer):
    async with world.run() as where:
        await pay_in(world, where, payer, OPEN)
        held = await lease(where, payer, OPEN)
        world.attribution.give(one := a_receipt(payer, held.name, 1000))
        await booked(where, payer, [one])
        await close_epoch(where)
    for file in (world.folder / "ledger").glob("ledger.db*"):
        file.unlink()
    assert "the chain holds epoch 1" in await refusal(world)
