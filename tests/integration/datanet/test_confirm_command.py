"""`openledger datanet confirm`: what becomes of records that wait for their contributor's word."""

from __future__ import annotations

import asyncio
import json

from sqlalchemy import select
from typer.testing import CliRunner

from openledger.cli.main import app
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet.tables import RECORD
from tests import hostile_files as files
from tests.datanet_world import ADA, OWNER, open_datanet
from tests.needs import needs


def rows(here, table):
    return here.database.read_now(lambda c: c.execute(select(table)).all())


@needs("presidio", "language")
async def test_what_waits_is_confirmed_as_suggested_as_given_or_not(here, contribute, tmp_path):
    async with here.as_(OWNER) as owner:
        await open_datanet(owner, "asks", policy=pb.Policy(personal_data=pb.PERSONAL_DATA_POLICY_ASK))
    texts = [f"Please write to {name}@example.org about it." for name in ("ann", "ben", "cat")]
    file = tmp_path / "a.jsonl"
    file.write_bytes(files.jsonl(*texts))
    told = await contribute("asks", file, "--yes")
    assert (told.exit_code, told.stdout.count("waits: ")) == (0, 3)
    assert "3 wait for your word: openledger datanet confirm --all asks" in told.stdout
    told = json.loads((await contribute("asks", file, "--yes", "--json")).stdout)
    one, two, three = (record["record"] for record in told["files"][0]["records"])

    async def confirm(*words, status=0, say=""):
        result = await asyncio.to_thread(CliRunner().invoke, app, ["datanet", "confirm", *words], input=say)
        assert result.exit_code == status, result.output
        return result

    shown = (await confirm(one)).stdout
    assert "PERSONAL_DATA" in shown
    assert "given text: Please write to ann@example.org about it." in shown
    assert "suggested text: Please write to [EMAIL 1] about it." in shown
    asked = (await confirm(one, "--masked", say="n\n", status=1)).output
    assert f'{ADA.account} signs: "I made this' in asked
    assert "under CC-BY-4.0, and destroyed for good as given?" in asked
    assert "destroyed for good?" in (await confirm(one, "--erase", say="n\n", status=1)).output
    assert [row.state for row in rows(here, RECORD)] == ["screened"] * 3, "nobody said yes"
    (taken,) = (await confirm(one, "--masked", "--yes")).stdout.splitlines()
    assert taken.endswith(f"  accepted, as suggested for {one}")
    for _ in range(2):
        assert (await confirm(two, "--as-given", "--yes")).stdout == f"{two}  accepted\n", "as often as it is said"
        assert (await confirm(three, "--erase", "--yes")).stdout == f"{three}  erased\n"
    assert "RECORD_DOES_NOT_WAIT" in (await confirm(two, "--erase", "--yes", status=1)).output
    assert "--as-given, --erase" in (await confirm(two, "--as-given", "--erase", status=2)).output
    assert "--all" in (await confirm(status=2)).output


@needs("presidio", "language")
async def test_all_that_wait_are_listed_and_confirmed_together_and_are_told_as_they_are_then(
    here, contribute, tmp_path
):
    async with here.as_(OWNER) as owner:
        await open_datanet(owner, "asks", policy=pb.Policy(personal_data=pb.PERSONAL_DATA_POLICY_ASK))
    texts = [f"Please write to {name}@example.org about the number {n}." for n, name in enumerate(("ann", "ben"))]
    file = tmp_path / "a.jsonl"
    file.write_bytes(files.jsonl("The kidney has cysts.", *texts))
    await contribute("asks", file, "--yes")

    async def confirm(*words, status=0):
        result = await asyncio.to_thread(CliRunner().invoke, app, ["datanet", "confirm", "--all", "asks", *words])
        assert result.exit_code == status, result.output
        return result

    listed = json.loads((await confirm("--json")).stdout)["records"]
    assert [record["fields"]["text"] for record in listed] == texts
    file.write_bytes(files.jsonl("The pelvis is missing.", *texts))
    told = json.loads((await contribute("asks", file, "--yes", "--json")).stdout)["files"][0]["records"]
    assert [(r["state"], r["record"]) for r in told[1:]] == [("waiting", record["name"]) for record in listed]
    told = json.loads((await confirm("--as-given", "--yes", "--json")).stdout)["records"]
    assert [record["state"] for record in told] == ["RECORD_STATE_ACCEPTED"] * 2
    assert "no record of yours waits" in (await confirm()).output
    for texts_before in ("The kidney has cysts.", "The pelvis is missing."):
        file.write_bytes(files.jsonl(texts_before, *texts))
        told = json.loads((await contribute("asks", file, "--yes", "--json")).stdout)["files"][0]["records"]
        assert {r["state"] for r in told} <= {"accepted", "before"}, "what was answered once waits no more"
