"""Exports and reviews that are given again, by the command."""

from __future__ import annotations

import json

import pytest

from openledger import giving
from openledger.datanet.v1 import datanet_pb2 as pb
from tests.datanet_world import ADA, BOB, OWNER, erase, give, listed

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
    assert (told["given"], told["others"], told["outcomes"]) == (5, 1, {"accepted": 3, "DUPLICATE": 2})
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


async def test_of_a_file_that_cannot_be_read_to_its_end_nothing_is_given(command, here, tmp_path):
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "one"}\n' * 3 + '{"text"')
    assert "line 4 is no JSON" in await command("import", "terms", broken, "--yes", status=1, by=ADA)
    assert "No such file" in await command("import", "terms", tmp_path / "none.json", "--yes", status=1, by=ADA)
    assert "DATANET_NOT_FOUND" in await command("import", "nowhere", broken, "--yes", status=1, by=ADA)
    assert await listed(here, OWNER) == []
