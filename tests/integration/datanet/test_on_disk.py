"""What lies on a Datanet's disk: nothing by which its records could be read without the key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from openledger import records
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet.__main__ import opened
from services.datanet.config import DatanetConfig
from services.kit.testing import SECRET, settings
from tests.datanet_world import ADA, DATANET, OWNER, cut, give, listed, open_datanet, read, world

MARKED = ("a marked text that nobody should find", "ein Text mit Merkmal: größer")


def everything(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


async def test_texts_and_salts_are_in_no_file_while_the_service_runs_and_after(ledger, ledger_at, tmp_path):
    async with world(tmp_path, ledger, ledger_at) as here:
        async with here.as_(OWNER) as owner:
            await open_datanet(owner)
            await give(here, ADA, *MARKED)
            await cut(owner)
            salts = [row.salt for batch in await read(owner) for row in batch]
            request = pb.SearchRecordsRequest(parent=DATANET, query="marked")
            assert len((await owner.call(owner.datanet.SearchRecords, request)).records) == 1
        while_running = everything(tmp_path)
    bodies = [records.canonical_bytes(ADA.address, {"text": text}) for text in MARKED]
    hidden = [text.encode() for text in MARKED] + salts + [records.fingerprint({"text": text}) for text in MARKED]
    hidden += [json.dumps(text).encode() for text in MARKED] + bodies
    for files in (while_running, everything(tmp_path)):
        assert any("datanet.db" in name for name in files)
        for name, data in files.items():
            assert [found for found in hidden if found in data] == [], name
    async with world(tmp_path, ledger, ledger_at) as here:
        assert [record.fields["text"] for record in await listed(here, ADA)] == list(MARKED)


def test_a_service_whose_key_is_gone_says_so_and_makes_no_new_one(tmp_path):
    config = DatanetConfig(**settings("datanet", tmp_path, ledger="127.0.0.1:1"))
    opened(config)[0].close()
    config.vault_key.unlink()
    given = {"DATA_DIR": config.data_dir, "ARTIFACTS_DIR": tmp_path, "SERVICE_SECRET": SECRET, "LEDGER": config.ledger}
    environment = {f"OPENLEDGER_DATANET_{name}": str(value) for name, value in given.items()}
    command = [sys.executable, "-m", "services.datanet"]
    ended = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert b"is gone: it opens the records in the database" in ended.stderr
    assert b"Traceback" not in ended.stderr
    assert not config.vault_key.exists()
