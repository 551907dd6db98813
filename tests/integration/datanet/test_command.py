"""`openledger datanet` against the service: what people type, and what they see."""

from __future__ import annotations

import json

from tests.datanet_world import ADA, give, give_badly, upload

TERMS = ("--licence", "cc-by-4.0", "--field", "term!", "--field", "text=What it means.", "--tag", "medicine")


async def test_a_datanet_is_opened_shown_found_and_changed(command, tmp_path):
    card = tmp_path / "card.md"
    card.write_text("# Rare terms\n\nWas sie heißen.")
    told = await command("create", "rare-terms", "--name", "Rare terms", *TERMS, "--description", card)
    assert "datanets/rare-terms  Rare terms  CC-BY-4.0, public, 0 records of 0 contributors" in told
    assert "fields term!, text" in told
    assert "tags medicine" in told
    shown = json.loads(await command("show", "datanets/rare-terms", "--json"))
    assert shown["fields"][1]["description"] == "What it means."
    assert "datanets/rare-terms" in await command("list", "HEISSEN", "--tag", "medicine", by=ADA)
    assert await command("list", "--mine", by=ADA) == ""
    await command("update", "rare-terms", "--min-chars", 5, "--max-chars", 90, "--visibility", "by-request")
    changed = json.loads(await command("update", "rare-terms", "--min-chars", 0, "--notice", "thanks", "--json"))
    assert (changed["policy"]["min_chars"], changed["policy"]["max_chars"]) == (0, 90)
    checked = ("--language", "en", "--language", "de", "--personal-data", "ask", "--quality")
    policy = json.loads(await command("update", "rare-terms", *checked, "--json"))["policy"]
    assert (policy["languages"], policy["personal_data"]) == (["en", "de"], "PERSONAL_DATA_POLICY_ASK")
    assert (policy["quality"], policy["max_chars"]) == (True, 90)
    unchecked = ("--language", "any", "--personal-data", "ignore", "--no-quality")
    policy = json.loads(await command("update", "rare-terms", *unchecked, "--json"))["policy"]
    assert (policy["languages"], policy["quality"], policy["max_chars"]) == ([], False, 90)
    assert policy["personal_data"] == "PERSONAL_DATA_POLICY_UNSPECIFIED"
    assert (changed["visibility"], changed["licence_notice"]) == ("VISIBILITY_BY_REQUEST", "thanks")
    assert (changed["display_name"], changed["tags"]) == ("Rare terms", ["medicine"])


async def test_people_are_invited_join_and_leave(command, here):
    await command("update", "terms", "--visibility", "private")
    assert "DATANET_NOT_FOUND" in await command("show", "terms", status=1, by=ADA)
    assert f"{ADA.account}  contributor, invited" in await command("invite", "terms", ADA.address)
    assert f"{ADA.account}  contributor, active" in await command("join", "terms", by=ADA)
    assert (await give(here, ADA, "one")).accepted == 1
    promoted = await command("invite", "terms", ADA.account, "--role", "validator")
    assert promoted == await command("members", "terms") == f"{ADA.account}  validator, active\n"
    assert "is out" in await command("remove", "terms", ADA.address, by=ADA)
    assert (await give_badly(here, ADA, upload(ADA, ["two"]))).reason == "NOT_A_MEMBER"


async def test_who_asks_is_let_in(command):
    await command("update", "terms", "--visibility", "by-request")
    assert "contributor, requested" in await command("join", "terms", by=ADA)
    assert json.loads(await command("members", "terms", "--json"))["members"][0]["account"] == ADA.account
    assert "contributor, active" in await command("admit", "terms", ADA.address)


async def test_what_is_wrong_is_said_in_words(command):
    assert "--licence" in await command("create", "rare-terms", status=2)
    assert "NOT_A_LICENCE" in await command("create", "rare-terms", "--licence", "free", status=1)
    assert "must be an id" in await command("create", "rare-terms", *TERMS, "--field", "!", status=1)
    assert "No such file" in await command("create", "rare-terms", *TERMS, "--description", "/none", status=1)
    assert "MEMBER_NOT_FOUND" in await command("admit", "terms", ADA.address, status=1)
