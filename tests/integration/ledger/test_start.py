"""What keeps the ledger from starting, and what it says then."""

from __future__ import annotations

import json

import pytest
from eth_account import Account

from services.kit.server import StartError
from services.ledger.__main__ import assemble
from tests.ledger_world import OPEN, OPERATOR, a_receipt, booked, close_epoch, lease, pay_in
from tests.signing_service import honest, signing_service


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


async def test_the_senders_key_can_stay_with_a_signing_service(world, payer):
    with signing_service(honest(Account.from_key(OPERATOR.private_key))) as url:
        world.more |= {"operator_key_file": None, "signer_url": url, "signer_address": OPERATOR.address}
        async with world.run() as where:
            assert (await pay_in(world, where, payer, OPEN)).deposited == str(OPEN)
        assert not (world.folder / "ledger" / "operator.key").exists()


async def test_a_signing_service_that_is_away_or_has_another_key(world):
    more = {"operator_key_file": None, "signer_url": "http://127.0.0.1:1", "signer_address": OPERATOR.address}
    assert "the signing service does not answer" in await refusal(world, **more)
    with signing_service(honest(Account.create())) as url:
        assert f"no key of {OPERATOR.address}" in await refusal(world, signer_url=url)


async def test_a_keystore_and_what_opens_it(world, tmp_path):
    path, told = tmp_path / "operator.json", tmp_path / "password"
    path.write_text(json.dumps(Account.encrypt(OPERATOR.private_key, "correct horse", "pbkdf2", 10)))
    told.touch(0o600)
    told.write_text("correct horse\n")
    assert "is locked" in await refusal(world, operator_key_file=path)
    assert "the password is another one" in await refusal(world, operator_password="hunter2")
    world.more |= {"operator_password": None, "operator_password_file": told}
    async with world.run():
        pass
    told.chmod(0o640)
    assert "chmod 600" in await refusal(world)
