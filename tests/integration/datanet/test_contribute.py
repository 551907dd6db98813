"""`openledger contribute`: people's files become records that are looked at first, signed for, and told of."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from openledger import giving
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet.tables import DECLARATION, RECORD
from tests import hostile_files as files
from tests.datanet_world import ADA, BOB, DATANET, OWNER, erase, give, listed, new_id, open_datanet
from tests.needs import needs


@pytest.fixture
def folder(tmp_path):
    """One file of each kind, and some that have no records."""
    made = tmp_path / "mine"
    (made / "notes").mkdir(parents=True)
    (made / ".hidden").write_text("a hidden text")
    (made / "a.jsonl").write_bytes(files.jsonl("one", "two", "one") + b"no object\n")
    (made / "b.csv").write_text("text,other\nthree,x\n")
    (made / "c.md").write_text("# Heading\n\nfour\n")
    (made / "notes" / "d.txt").write_text("five\n\nsix")
    (made / "e.pdf").write_bytes(files.pdf(["seven"]))
    (made / "f.docx").write_bytes(files.docx([("Normal", "eight")]))
    (made / "g.pdf").write_bytes(b"just text")
    (made / "h.png").write_bytes(files.png(10, 10))
    return made


def rows(here, table):
    return here.database.read_now(lambda c: c.execute(select(table)).all())


async def test_files_of_all_kinds_are_given_and_each_record_is_told_of(here, contribute, folder):
    result = await contribute(DATANET, folder, "--yes", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    by_name = {file["path"].rpartition("/")[2]: file for file in told["files"]}
    assert set(by_name) == {"a.jsonl", "b.csv", "c.md", "d.txt", "e.pdf", "f.docx", "g.pdf", "h.png"}
    given = [record for file in told["files"] for record in file["records"]]
    texts = sorted(r["fields"]["text"] for r in given if r["state"] == "accepted")
    assert [told[s] for s in ("accepted", "waiting", "before", "refused", "unsent")] == [len(texts), 0, 1, 0, 0]
    assert {"one", "two", "three", "five", "seven", "eight"} <= set(texts)
    assert [(r["place"], r["reason"]) for r in given if r["state"] == "before"] == [("line 3", "DUPLICATE")]
    assert [(p["place"], p["reason"]) for p in by_name["a.jsonl"]["problems"]] == [("line 4", "LINE_NOT_JSON")]
    assert [p["reason"] for p in by_name["g.pdf"]["problems"]] == ["WRONG_TYPE"]
    assert by_name["h.png"]["records"] == []
    shown = {record.source for record in await listed(here, ADA)}
    assert "a.jsonl, line 1" in shown


async def test_run_again_it_takes_nothing_twice_and_says_the_same(here, contribute, folder):
    first, again = [(await contribute("terms", folder, "--yes", "--json")).stdout for _ in range(2)]
    assert first == again
    count = json.loads(first)["accepted"]
    assert len(rows(here, RECORD)) == count
    (folder / "z.txt").write_text("nine")
    more = json.loads((await contribute("terms", folder, "--yes", "--json")).stdout)
    assert more["accepted"] == len(rows(here, RECORD)) == count + 1


async def test_it_is_shown_first_and_nothing_is_sent_unless_its_giver_agrees(here, contribute, folder):
    result = await contribute("terms", folder / "a.jsonl", folder / "g.pdf", say="n\n")
    assert result.exit_code == 1
    assert "a.jsonl  3 records; text is text" in result.output
    assert "line 1  text: one" in result.output
    assert "and 1 more" in result.output
    assert "WRONG_TYPE" in result.output
    assert "I made this" in result.output
    assert "under CC-BY-4.0?" in result.output
    shown = await contribute("terms", folder / "a.jsonl", "--preview", "--json")
    assert shown.exit_code == 0
    assert [r["fields"]["text"] for r in json.loads(shown.stdout)["files"][0]["records"]] == ["one", "two", "one"]
    assert rows(here, DECLARATION) == []
    result = await contribute("terms", folder / "a.jsonl", folder / "g.pdf", say="y\n")
    assert result.exit_code == 0
    assert "you gave it before" in result.output
    assert len(rows(here, RECORD)) == 2


async def test_a_person_says_which_part_is_which_field(here, contribute, tmp_path):
    (tmp_path / "t.csv").write_text("a;b=c\n1;2\n")
    result = await contribute("terms", tmp_path / "t.csv", "--yes", "--json", "--map", "b=c=text")
    assert [r["fields"] for r in json.loads(result.stdout)["files"][0]["records"]] == [{"text": "2"}]
    assert "PART=FIELD" in (await contribute("terms", tmp_path / "t.csv", "--map", "text")).output
    unclear = await contribute("terms", tmp_path / "t.csv", "--yes", "--json")
    assert unclear.exit_code == 1
    assert [p["reason"] for p in json.loads(unclear.stdout)["files"][0]["problems"]] == ["MAPPING_UNCLEAR"]


async def test_what_a_person_says_of_parts_is_for_files_that_have_them_and_the_rest_is_told_by_names(
    here, contribute, tmp_path
):
    async with here.as_(OWNER) as owner:
        fields = [pb.Field(id="term", required=True), pb.Field(id="text")]
        await open_datanet(owner, "rare", fields=fields)
        await open_datanet(owner, "plain", fields=[pb.Field(id="term"), pb.Field(id="text", required=True)])  # as docs/
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("a note")
    (tmp_path / "terms.csv").write_text("Term,Meaning,Other\ncyst,a hole,x\n")
    words = (tmp_path / "terms.csv", tmp_path / "notes", "--yes", "--json", "--map", "Meaning=text")
    told = json.loads((await contribute("plain", *words)).stdout)
    read = [record["fields"] for file in told["files"] for record in file["records"]]
    assert (read, told["accepted"]) == ([{"term": "cyst", "text": "a hole"}, {"text": "a note"}], 2)
    told = json.loads((await contribute("rare", *words)).stdout)
    states = [(r["state"], r["reason"]) for file in told["files"] for r in file["records"]]
    assert states == [("before", "DUPLICATE"), ("refused", "FIELD_MISSING")]
    wrong = await contribute("plain", *words, "--map", "Meanign=text")
    assert (wrong.exit_code, "no file has 'Meanign'" in wrong.output) == (1, True)
    assert len(rows(here, RECORD)) == 2


async def test_a_file_that_cannot_be_opened_keeps_no_other_back(here, contribute, tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two")
    real = type(tmp_path).open

    def closed(self, *how):
        if self.name == "a.txt":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *how)

    monkeypatch.setattr(type(tmp_path), "open", closed)
    result = await contribute("terms", tmp_path / "a.txt", tmp_path / "b.txt", "--yes", "--json")
    one, two = json.loads(result.stdout)["files"]
    assert [p["reason"] for p in one["problems"]] == ["NOT_READ"]
    assert [r["state"] for r in two["records"]] == ["accepted"]


async def test_what_is_not_there_is_said(here, contribute, tmp_path):
    assert "there is no file" in (await contribute("terms", tmp_path / "none")).output
    (tmp_path / "empty").mkdir()
    assert "no files" in (await contribute("terms", tmp_path / "empty")).output
    result = await contribute("none", tmp_path / "none")
    assert (result.exit_code, "DATANET_NOT_FOUND" in result.output) == (1, True)


async def test_many_records_go_in_parts_and_a_part_that_is_refused_spoils_no_other(
    here, contribute, tmp_path, monkeypatch
):
    monkeypatch.setattr(giving, "PART_RECORDS", 2)
    file = tmp_path / "a.jsonl"
    file.write_bytes(files.jsonl("one", "two", "three", "four", "five"))
    told = json.loads((await contribute("terms", file, "--yes", "--json")).stdout)
    assert (told["accepted"], len(rows(here, DECLARATION))) == (5, 3)
    async with here.as_(ADA) as ada:
        await erase(ada, told["files"][0]["records"][2]["record"])
    result = await contribute("terms", file, "--yes", "--json")
    again = json.loads(result.stdout)
    states = [(r["state"], r["reason"]) for r in again["files"][0]["records"]]
    reused = ("before", "REQUEST_ID_REUSED")
    assert states == [("accepted", "")] * 2 + [reused] * 2 + [("accepted", "")]
    assert result.exit_code == 0
    assert "--again" in again["files"][0]["records"][2]["message"]
    anew = json.loads((await contribute("terms", file, "--yes", "--json", "--again")).stdout)
    states = [r["state"] for r in anew["files"][0]["records"]]
    assert states == ["before", "before", "accepted", "before", "before"]


async def test_what_was_said_before_it_broke_is_not_lost(here, contribute, tmp_path, monkeypatch):
    monkeypatch.setattr(giving, "PART_RECORDS", 1)
    file = tmp_path / "a.jsonl"
    file.write_bytes(files.jsonl("one", "two", "three"))
    real, count = giving.sent, 0

    async def breaks(client, wallet, into, part, new):
        nonlocal count
        count += 1
        if count == 2:
            changed = pb.Datanet()
            changed.CopyFrom(into)
            changed.licence = "MIT"
            return await real(client, wallet, changed, part, new)
        return await real(client, wallet, into, part, new)

    monkeypatch.setattr(giving, "sent", breaks)
    result = await contribute("terms", file, "--yes", "--json")
    told = json.loads(result.stdout)
    unsent = ("unsent", "DECLARATION_MISMATCH")
    assert [(r["state"], r["reason"]) for r in told["files"][0]["records"]] == [("accepted", ""), unsent, unsent]
    assert (count, told["accepted"], told["unsent"], told["refused"]) == (2, 1, 2, 0)
    assert result.exit_code == 1, "half an upload is not a whole one"


async def test_texts_that_look_like_marks_of_the_terminal_are_shown_as_they_are(here, contribute, tmp_path):
    (tmp_path / "a.txt").write_text("[bold]no[/bold] [/x]")
    result = await contribute("terms", tmp_path / "a.txt", "--preview")
    assert "[bold]no[/bold] [/x]" in result.output


async def test_a_duplicate_of_somebody_elses_alone_is_nothing_taken(here, contribute, tmp_path):
    await give(here, BOB, "one")
    (tmp_path / "a.txt").write_text("one")
    result = await contribute("terms", tmp_path / "a.txt", "--yes")
    assert result.exit_code == 1
    assert "DUPLICATE" in result.output


async def test_once_the_owner_takes_other_things_what_was_refused_is_judged_anew(here, contribute, tmp_path):
    async with here.as_(OWNER) as owner:
        into = await open_datanet(owner, "short", policy=pb.Policy(max_chars=5))
        file = tmp_path / "a.jsonl"
        file.write_bytes(files.jsonl("short", "much longer"))
        for _ in range(2):
            told = json.loads((await contribute("short", file, "--yes", "--json")).stdout)
            assert [r["state"] for r in told["files"][0]["records"]] == ["accepted", "refused"]
        into.policy.max_chars = 50
        request = pb.UpdateDatanetRequest(datanet=into, request_id=new_id())
        request.update_mask.paths.append("policy")
        await owner.call(owner.datanet.UpdateDatanet, request)
    told = json.loads((await contribute("short", file, "--yes", "--json")).stdout)
    assert [r["state"] for r in told["files"][0]["records"]] == ["before", "accepted"]


async def test_what_one_gave_oneself_is_told_as_given_before_and_not_as_refused(here, contribute, tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(files.jsonl("one", "two"))
    first = json.loads((await contribute("terms", file, "--yes", "--json")).stdout)
    await give(here, BOB, "another's")
    file.write_bytes(files.jsonl("another's", "one", "two"))
    result = await contribute("terms", file, "--yes", "--json")
    told = json.loads(result.stdout)["files"][0]["records"]
    assert [r["state"] for r in told] == ["refused", "before", "before"]
    assert [r["record"] for r in told[1:]] == [r["record"] for r in first["files"][0]["records"]]
    assert result.exit_code == 0


async def test_two_files_with_the_same_records_are_not_told_as_taken_twice(here, contribute, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / "mine" / folder).mkdir(parents=True)
        (tmp_path / "mine" / folder / "same.jsonl").write_bytes(files.jsonl("one", "two"))
    told = json.loads((await contribute("terms", tmp_path / "mine", "--yes", "--json")).stdout)
    assert (told["accepted"], told["before"], len(rows(here, RECORD))) == (2, 2, 2)
    one, two = ([r["record"] for r in file["records"]] for file in told["files"])
    assert one == two


@needs("presidio", "language")
async def test_where_it_is_from_is_said_otherwise_where_a_files_name_says_too_much(here, contribute, tmp_path):
    async with here.as_(OWNER) as owner:
        await open_datanet(owner, "masks", policy=pb.Policy(personal_data=pb.PERSONAL_DATA_POLICY_MASK))
    file = tmp_path / "by ann@example.org as .txt"
    file.write_text("The kidney has many cysts of different sizes.")
    result = await contribute("masks", file, "--masked", "--yes", "--json")
    (record,) = json.loads(result.stdout)["files"][0]["records"]
    assert (record["state"], record["suggested_fields"]) == ("refused", {})
    assert "contribute --source, --no-source" in record["message"]
    assert "one of them" in (await contribute("masks", file, "--source", "x", "--no-source")).output
    (record,) = json.loads((await contribute("masks", file, "--yes", "--json", "--no-source")).stdout)["files"][0][
        "records"
    ]
    assert (record["state"], record["source"]) == ("accepted", "")
    shown = json.loads((await contribute("masks", file, "--preview", "--json", "--source", "letters")).stdout)
    assert [r["source"] for r in shown["files"][0]["records"]] == ["letters, " + record["place"]]


@needs("presidio", "language")
async def test_what_is_to_be_masked_is_sent_as_suggested_where_its_giver_says_so(here, contribute, tmp_path):
    async with here.as_(OWNER) as owner:
        await open_datanet(owner, "masks", policy=pb.Policy(personal_data=pb.PERSONAL_DATA_POLICY_MASK))
    file = tmp_path / "a.jsonl"
    file.write_bytes(files.jsonl("The kidney has cysts.", "Please write to ann@example.org about it."))
    told = json.loads((await contribute("masks", file, "--yes", "--json")).stdout)
    assert [r["state"] for r in told["files"][0]["records"]] == ["accepted", "refused"]
    result = await contribute("masks", file, "--masked", say="y\nn\n")
    assert "Please write to [EMAIL 1] about it." in result.output
    assert (result.exit_code, len(rows(here, RECORD))) == (0, 1)
    assert "PERSONAL_DATA" in result.stdout
    result = await contribute("masks", file, "--masked", "--json", say="y\nn\n")
    shown = json.loads(result.stdout[result.stdout.index("{") :])["files"][0]["records"][1]
    assert (shown["state"], shown["fields"]["text"]) == ("refused", "Please write to ann@example.org about it.")
    told = json.loads((await contribute("masks", file, "--masked", "--yes", "--json")).stdout)
    assert [(r["state"], r["fields"]["text"]) for r in told["files"][0]["records"]] == [
        ("accepted", "The kidney has cysts."),
        ("accepted", "Please write to [EMAIL 1] about it."),
    ]
