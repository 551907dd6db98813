"""Answers of an adapter that was made elsewhere: measured like others, and what contributors would get is nobody's."""

from __future__ import annotations

from eth_account import Account

from openledger import receipt as receipts
from openledger.client import Wallet
from openledger.imported import BROUGHT
from openledger.imported import read as read_brought
from openledger.split import waiting
from openledger.verify import verify_receipt
from services.kit.testing import as_service
from tests.attribution_world import attribution, read
from tests.peft_folder import brought

IMPORTER = Wallet("0x" + "77" * 32)


async def test_an_imported_adapters_answers_pay_base_and_owner_and_a_stranger_can_verify_it(around, tmp_path):
    artifacts, form = around.artifacts, tmp_path / "form"
    lineage = brought(artifacts.adapter.folder, form, IMPORTER, artifacts.adapter.base_sha256)
    for name in BROUGHT:
        artifacts.store.put_file(form / name)
    artifacts.store.put(read_brought(form)[1].to_bytes())
    artifacts.store.put(lineage.to_bytes())
    trace = artifacts.trace(1, adapter=lineage.revision)
    around.peers.add(trace, artifacts.trace(2))
    async with attribution(around) as (where, _), as_service("ledger", attribution=where) as ledger:
        entries = await read(ledger, 2)
        key = (around.folder / "attribution" / "signing.key").read_text().strip()
    document = entries[0].receipt.document
    signer = Account.from_key(key).address.lower()
    report = verify_receipt(document, artifacts.store, artifacts.adapter.base, signer, trace=trace.dumps())
    assert report.ok, report.failed
    receipt, trained = receipts.parse(document), receipts.parse(entries[1].receipt.document)
    assert (receipt.developer, receipt.model.index_root) == (IMPORTER.address, lineage.index_root)
    assert (receipt.evidence.scores, receipt.evidence.placebos) == ({}, ())
    assert receipt.shares.keys() == {"base", "developer", "stakers", "platform", "unattributed"}
    assert sum(receipt.shares.values()) == receipt.fee
    # The same weights: the same losses, so the same belongs to the base, and to the data all together.
    assert receipt.evidence.nll_model == trained.evidence.nll_model
    assert abs(receipt.shares["unattributed"] - waiting(trained.shares)) <= 2
