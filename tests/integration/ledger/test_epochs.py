"""From answers over a closed epoch to a stranger who derives it again, and compares with the chain."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from eth_account import Account
from typer.testing import CliRunner

from openledger.artifacts import ArtifactStore
from openledger.cli import wallets
from openledger.cli.main import app
from openledger.client import ApiError, Wallet, request_id
from openledger.ledger.v1 import ledger_pb2
from services.kit.testing import as_wallet, served
from services.ledger import calls, leaves, settle
from services.ledger.__main__ import assemble
from tests import chains
from tests.ledger_world import (
    EARNERS,
    GUARDIAN,
    OPEN,
    OPERATOR,
    SIGNER,
    TREASURY,
    a_receipt,
    booked,
    claim,
    close_epoch,
    eventually,
    lease,
    pay_in,
)
from tests.web_folder import folder_of

CHECKS = {
    "files", "terms", "splits", "signatures", "corrections", "shares", "journals", "leaves", "previous", "once",
    "root", "log_root", "chain",
}  # fmt: skip


async def verified(world, bundle: str, *more: str):
    """Exit status of `openledger verify epoch`, and its checks by name."""
    arguments = ["verify", "epoch", bundle, "--artifacts", str(world.folder / "artifacts"), "--rpc", world.rpc_url]
    result = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--json", *more])
    assert result.exit_code in (0, 1, 3), result.output
    return result.exit_code, {check["name"]: check for check in json.loads(result.stdout)["checks"]}


def wrong(checks) -> set[str]:
    return {name for name, check in checks.items() if not check["ok"]}


async def answer(world, where, payer, held, count: int = 3) -> list:
    receipts = [a_receipt(payer, held.name, OPEN // 20 + number) for number in range(count)]
    world.attribution.give(*receipts)
    await booked(where, payer, receipts)
    return receipts


async def test_a_stranger_derives_epochs_from_their_receipts_to_the_roots_on_chain(world, payer, database_url):
    world.more["database_url"] = database_url
    assembly = await assemble(world.config())
    async with served(assembly) as where:
        await pay_in(world, where, payer, OPEN)
        held = await lease(where, payer, OPEN)
        closed = []
        for count in (3, 2):
            await answer(world, where, payer, held, count)
            closed.append(await close_epoch(where))
        for epoch in closed:
            status, checks = await verified(world, epoch.bundle, "--signer", SIGNER.address)
            assert (status, wrong(checks), checks.keys()) == (0, set(), CHECKS)
        assert "3 receipts" in (await verified(world, closed[0].bundle))[1]["signatures"]["words"]
        await drawn_by_the_chain(world, closed[0].bundle)
        assert "and the root of epoch 1" in checks["chain"]["words"]
        await claim(where, EARNERS[-1])
    told = [sample for family in assembly.metrics.registry.collect() for sample in family.samples]
    counts = {sample.name: sample.value for sample in told if sample.name.endswith("_seconds_count")}
    assert counts["openledger_ledger_seal_seconds_count"] == counts["openledger_ledger_bundle_seconds_count"] == 2


async def drawn_by_the_chain(world, bundle: str) -> None:
    """The block that holds the root says which receipts are looked at; their traces are none, and so all are wrong."""
    trace = world.folder / "artifacts" / "sha256" / "aa" / ("a" * 64)
    trace.parent.mkdir(parents=True, exist_ok=True)
    trace.write_bytes(b"no trace")
    arguments = ["verify", "sample", bundle, "--artifacts", str(world.folder / "artifacts"), "--rpc", world.rpc_url]
    result = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--budget", "2", "--json"])
    assert result.exit_code == 1, result.output
    told = json.loads(result.stdout)
    block = chains.rpc(world.rpc_url, "eth_getBlockByNumber", hex(told["beacon"]["block"]), False)
    assert "0x" + told["beacon"]["hash"] == block["hash"]
    assert told["seed"] == told["beacon"]["hash"]
    assert told["number"] == {"drawn": 1, "wrong": 1, "at_most": 3, "of": 3}
    assert all(wrong["why"].startswith("trace:") for wrong in told["wrong"])


@asynccontextmanager
async def waiting(world, payer):
    """A ledger whose roots can be vetoed for a while, with a payer's money in it, and an operator's client."""
    world.more["challenge_window_seconds"] = 30
    async with world.run() as where:
        await pay_in(world, where, payer, OPEN)
        held = await lease(where, payer, OPEN)
        async with as_wallet(OPERATOR, ledger=where) as operator:
            yield where, held, operator


async def proposed(world, operator):
    """The operation of an epoch that is closed now, once its root is on chain; and the epoch."""
    operation = await operator.call(operator.ledger.CloseEpoch, ledger_pb2.CloseEpochRequest(request_id=request_id()))
    await eventually(lambda: world.chain().last_epoch() == 1)
    epoch = await operator.call(operator.ledger.GetEpoch, ledger_pb2.GetEpochRequest(name="epochs/1"))
    assert epoch.bundle
    return operation, epoch


async def vetoed(world, operator, operation):
    world.send(GUARDIAN, calls.veto(world.chain().contracts, 1, "a test"))
    with pytest.raises(ApiError, match="EPOCH_VETOED"):
        await operator.wait("ledger", operation, ledger_pb2.Epoch, 20)


async def test_a_wrong_root_is_found_in_time_to_be_vetoed(world, payer, monkeypatch):
    """One leaf is raised by one unit; all else that the service says fits that."""
    async with waiting(world, payer) as (where, held, operator):
        await answer(world, where, payer, held)
        with monkeypatch.context() as patched:
            raise_leaf(patched, EARNERS[-1].address)
            operation, epoch = await proposed(world, operator)
        status, checks = await verified(world, epoch.bundle)
        assert (status, wrong(checks)) == (1, {"leaves", "previous", "root"})
        assert EARNERS[-1].address in checks["leaves"]["words"]
        assert checks["chain"]["ok"]  # it is what the chain holds: that is what makes it worth a veto

        await vetoed(world, operator, operation)
        assert "stands" in (await verified(world, epoch.bundle))[1]["chain"]["words"]
        operation, again = await proposed(world, operator)
        assert int(again.total) == int(epoch.total) - 1
        status, checks = await verified(world, again.bundle)
        assert (status, wrong(checks)) == (0, set())
        # The vetoed bundle is not the one on chain any more.
        assert "root on chain" in (await verified(world, epoch.bundle))[1]["chain"]["words"]
        chains.rpc(world.rpc_url, "evm_increaseTime", 31)
        await operator.wait("ledger", operation, ledger_pb2.Epoch, 20)
        await claim(where, EARNERS[-1])


def raise_leaf(patched, who: str) -> None:
    """A ledger that gives somebody one unit too much, and finds that right when it looks again."""
    capped = leaves.capped

    def raised(found):
        return replace(found, promised={**found.promised, who: found.promised[who] + 1})

    patched.setattr(leaves, "capped", lambda *given: raised(capped(*given)))


async def challenged(world, bundle: str, key, *more: str, given: str = "") -> dict:
    """What `openledger verify epoch --challenge` says became of the challenge."""
    arguments = ["verify", "epoch", bundle, "--artifacts", str(world.folder / "artifacts"), "--rpc", world.rpc_url]
    arguments += ["--challenge", "--key", str(key), "--json", *more]
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments, input=given)
    assert result.exit_code in (0, 1, 3), result.output
    document = result.stdout[result.stdout.index("{") :]  # the runner echoes what is typed
    return json.loads(document).get("challenge", {})


async def test_a_stranger_finds_a_wrong_root_challenges_it_and_it_never_pays(world, payer, monkeypatch, tmp_path):
    """One leaf is raised by one unit: derived again, frozen by a bond, struck, and the bond is taken back."""
    stranger, bond = Wallet.create(), 3 * OPEN
    world.more["challenge_bond"] = bond
    (key := tmp_path / "stranger.json").write_text(
        json.dumps(Account.encrypt(stranger.private_key, "word", "pbkdf2", 2))
    )
    monkeypatch.setenv(wallets.PASSWORD, "word")
    async with waiting(world, payer) as (where, held, operator):
        chain = world.chain()
        await answer(world, where, payer, held)
        with monkeypatch.context() as patched:
            raise_leaf(patched, EARNERS[-1].address)
            operation, epoch = await proposed(world, operator)
        assert "holds 0" in (await challenged(world, epoch.bundle, key, "--yes"))["why"]
        world.send(TREASURY, calls.transfer(chain.contracts, stranger.address, bond))
        world.give_ether(stranger)
        assert "said no" in (await challenged(world, epoch.bundle, key, given="n\n"))["why"]
        assert chain.token_balance(stranger.address) == bond
        with monkeypatch.context() as patched:
            patched.setenv(wallets.PASSWORD, "another")
            assert "another" in (await challenged(world, epoch.bundle, key, "--yes"))["why"]

        told = await challenged(world, epoch.bundle, key, given="y\n")
        assert (told["sent"], told["root"], told["bond"]) == (True, epoch.root, str(bond))
        assert told["evidence"].startswith(f"{epoch.bundle} leaves: ")
        assert chain.token_balance(stranger.address) == 0
        assert "has challenged it already" in (await challenged(world, epoch.bundle, key, "--yes"))["why"]

        chains.rpc(world.rpc_url, "evm_increaseTime", 31)  # the window is over, and the root does not pay
        assert chain.active_epoch() == 0
        world.send(GUARDIAN, calls.resolve(chain.contracts, 1, bytes.fromhex(epoch.root[2:]), valid=False))
        with pytest.raises(ApiError, match="EPOCH_VETOED"):
            await operator.wait("ledger", operation, ledger_pb2.Epoch, 20)
        world.send(stranger, calls.take_bond(chain.contracts, stranger.address))
        assert chain.token_balance(stranger.address) == bond
        assert "nothing to challenge" in (await challenged(world, epoch.bundle, key, "--yes"))["why"]

        operation, again = await proposed(world, operator)
        status, checks = await verified(world, again.bundle)
        assert (status, wrong(checks)) == (0, set())
        assert await challenged(world, again.bundle, key, "--yes") == {}  # a root that holds is not challenged
        assert "verify that one" in (await challenged(world, epoch.bundle, key, "--yes"))["why"]
        chains.rpc(world.rpc_url, "evm_increaseTime", 31)
        await operator.wait("ledger", operation, ledger_pb2.Epoch, 20)
        assert chain.epoch(1).cumulative_total == int(epoch.total) - 1


async def test_a_root_that_takes_earnings_away_is_struck_by_two_proofs_without_a_bond(
    world, payer, monkeypatch, tmp_path
):
    (key := tmp_path / "stranger.key").write_text((stranger := Wallet.create()).private_key)
    key.chmod(0o600)
    async with waiting(world, payer) as (where, held, operator):
        await answer(world, where, payer, held)
        operation, first = await proposed(world, operator)
        chains.rpc(world.rpc_url, "evm_increaseTime", 31)
        await operator.wait("ledger", operation, ledger_pb2.Epoch, 20)
        await answer(world, where, payer, held)
        robbed, capped = EARNERS[-1].address, leaves.capped
        with monkeypatch.context() as patched:
            patched.setattr(settle, "decreases", lambda *_: [])

            def lowered(earned, before, most):
                return replace(found := capped(earned, before, most), promised={**found.promised, robbed: 1})

            patched.setattr(leaves, "capped", lowered)
            operation = await operator.call(
                operator.ledger.CloseEpoch, ledger_pb2.CloseEpochRequest(request_id=request_id())
            )
            await eventually(lambda: world.chain().last_epoch() == 2)
        second = await operator.call(operator.ledger.GetEpoch, ledger_pb2.GetEpochRequest(name="epochs/2"))
        world.give_ether(stranger)
        assert "said no" in (await challenged(world, second.bundle, key, given="n\n"))["why"]
        monkeypatch.setenv("OPENLEDGER_CACHE", str(tmp_path))
        with folder_of(ArtifactStore(world.folder / "artifacts")) as (url, _):  # with nothing here but that
            told = await challenged(world, second.bundle, key, "--yes", "--artifacts", url)
        assert (told["sent"], told["account"], told["root"]) == (True, robbed, second.root)
        assert world.chain().last_epoch() == 1
        with pytest.raises(ApiError, match="EPOCH_VETOED"):
            await operator.wait("ledger", operation, ledger_pb2.Epoch, 20)
        assert (await verified(world, first.bundle))[0] == 0


async def test_a_challenge_is_not_sent_for_files_that_are_not_here(world, payer, monkeypatch, tmp_path):
    (key := tmp_path / "stranger.key").write_text(TREASURY.private_key)
    key.chmod(0o600)
    async with waiting(world, payer) as (where, held, operator):
        await answer(world, where, payer, held)
        _, epoch = await proposed(world, operator)
        folder = world.folder / "artifacts" / "sha256"
        manifest = json.loads((folder / epoch.bundle[7:9] / epoch.bundle[7:]).read_bytes())
        lost = manifest["files"]["leaves.parquet"]["sha256"]
        (folder / lost[:2] / lost).unlink()
        told = await challenged(world, epoch.bundle, key, "--yes")
        assert (told["sent"], "not all files are here" in told["why"]) == (False, True)
        nobody = await challenged(world, epoch.bundle, tmp_path / "none.key", "--yes")
        assert "there is no key" in nobody["why"]
        assert not (tmp_path / "none.key").exists()


async def test_answers_that_came_after_a_veto_are_settled_with_the_next_sealing(world, payer):
    async with waiting(world, payer) as (where, held, operator):
        await answer(world, where, payer, held, 2)
        operation, first = await proposed(world, operator)
        await vetoed(world, operator, operation)
        await answer(world, where, payer, held, 1)
        operation, again = await proposed(world, operator)
        status, checks = await verified(world, again.bundle)
        assert (status, wrong(checks)) == (0, set())
        assert "in 2 settlements" in checks["terms"]["words"]
        assert (first.receipt_count, again.receipt_count) == (2, 3)


async def test_what_a_chain_does_not_say_is_not_taken_for_checked(world, where, payer):
    await pay_in(world, where, payer, OPEN)
    await answer(world, where, payer, await lease(where, payer, OPEN))
    bundle = (await close_epoch(where)).bundle
    status, checks = await verified(world, bundle, "--rpc", "http://127.0.0.1:9")
    assert (status, checks["chain"]["ok"]) == (3, None)
    assert "does not answer" in checks["chain"]["words"]
