"""Exports and reviews that are given again, by the command."""

from __future__ import annotations

import json

import grpc
import pytest

from openledger import giving
from openledger.client import ApiError
from openledger.datanet.v1 import datanet_pb2 as pb
from tests.datanet_world import ADA, BOB, OWNER, erase, give, listed, open_datanet
from tests.needs import needs

ACCEPTED = pb.RECORD_STATE_ACCEPTED


async def texts(here, by):
    return sorted(row.fields["text"] for row in await listed(here, by, page_size=100) if row.fields)


@pytest.mark.parametrize("form", ("parquet", "jsonl", "argilla", "label-studio"))
async def test_what_was_exported_and_erased_is_given_again_by_its_author(command, here, tmp_path, form, monkeypatch):
    monkeypatch.setattr(giving, "PART_RECORDS", 2)
    mine = ["one", "zwei größer", "three", "four", "five"]
    names = [outcome.record for outcome in (await give(here, ADA, *mine)).outcomes]
    await give(here, BOB, "another's")
    await command("snapshot", "terms")
    await command("export", "terms", tmp_path / "out", "--format", form)
    async with here.as_(ADA) as ada:
        for name in names[:3]:
            await erase(ada, name)
    assert await texts(here, ADA) == ["five", "four"]

    assert "declared as yours" in await command("import", "terms", tmp_path / "out", status=1, by=ADA)
    assert await texts(here, ADA) == ["five", "four"], "nobody said yes"
    told = json.loads(await command("import", "terms", tmp_path / "out", "--yes", "--json", by=ADA))
    assert (told["given"], told["others"], told["outcomes"]) == (5, 1, {"accepted": 3, "before": 2})
    assert await texts(here, ADA) == sorted(mine)
    again = json.loads(await command("import", "terms", tmp_path / "out", "--yes", "--json", by=ADA))
    assert again["outcomes"] == told["outcomes"], "answered as it was"
    assert await texts(here, ADA) == sorted(mine), "nothing is doubled"
    assert "1 left out: another's" in await command("import", "terms", tmp_path / "out", "--yes", by=ADA)


async def test_what_reviewers_took_is_given(command, here, tmp_path):
    def task(text, *verdicts, **more):
        results = [[{"from_name": "verdict", "value": {"choices": [v]}}] for v in verdicts]
        return {"data": {"text": text} | more, "annotations": [{"result": r} for r in results]}

    reviewed = tmp_path / "reviewed.json"
    tasks = [task("good", "keep", "keep", "drop"), task("bad", "drop"), task("unseen"), task("odd", "keep", other="x")]
    reviewed.write_text(json.dumps(tasks))
    words = ("import", "terms", reviewed, "--only", "verdict=keep", "--yes")
    told = await command(*words, status=1, by=ADA)
    assert "2 records given to datanets/terms" in told
    assert "1 FIELD_UNKNOWN" in told
    assert "2 left out: not answered so by most reviewers" in told
    assert await texts(here, ADA) == ["good"]
    assert "QUESTION=ANSWER" in await command("import", "terms", reviewed, "--only", "verdict", status=2, by=ADA)


@needs("presidio", "language")
async def test_what_waits_is_no_refusal_and_it_is_told_how_to_confirm_it(command, here, tmp_path):
    async with here.as_(OWNER) as owner:
        await open_datanet(owner, "asks", policy=pb.Policy(personal_data=pb.PERSONAL_DATA_POLICY_ASK))
    file = tmp_path / "mine.jsonl"
    file.write_text('{"text": "The kidney has cysts."}\n{"text": "Please write to ann@example.org about it."}\n')
    told = json.loads(await command("import", "asks", file, "--yes", "--json", by=ADA))
    assert (told["outcomes"], told["reasons"], len(told["waiting"])) == ({"accepted": 1, "waiting": 1}, {}, 1)
    assert "datanet confirm --all datanets/asks" in await command("import", "asks", file, "--yes", by=ADA)
    assert told["waiting"][0] in await command("confirm", "--all", "datanets/asks", by=ADA)


async def test_what_could_not_be_sent_is_told_beside_what_was_taken(command, here, tmp_path, monkeypatch):
    real, count = giving.sent, 0

    async def breaks(*told):
        nonlocal count
        count += 1
        if count > 1:
            raise ApiError(grpc.StatusCode.RESOURCE_EXHAUSTED, "ACCOUNT_FULL", "it is full", {}, None)
        return await real(*told)

    monkeypatch.setattr(giving, "sent", breaks)
    monkeypatch.setattr(giving, "PART_RECORDS", 1)
    file = tmp_path / "mine.jsonl"
    file.write_text('{"text": "one"}\n{"text": "two"}\n{"text": "three"}\n')
    told = await command("import", "terms", file, "--yes", status=1, by=ADA)
    assert "1 accepted" in told
    assert "2 unsent: ACCOUNT_FULL, it is full" in told
    assert count == 2


async def test_of_a_file_that_cannot_be_read_to_its_end_nothing_is_given(command, here, tmp_path):
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "one"}\n' * 3 + '{"text"')
    assert "line 4 is no JSON" in await command("import", "terms", broken, "--yes", status=1, by=ADA)
    assert "No such file" in await command("import", "terms", tmp_path / "none.json", "--yes", status=1, by=ADA)
    assert "DATANET_NOT_FOUND" in await command("import", "nowhere", broken, "--yes", status=1, by=ADA)
    assert await listed(here, OWNER) == []
