"""`openledger finetune` against a Factory: what people type, and what they see."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from typer.testing import CliRunner

from openledger.cli.connection import Connection
from openledger.cli.main import app
from tests.factory_world import SNAPSHOT
from tests.integration.factory.conftest import OWNER

TEMPLATES = ("--prompt", "Which is {question}", "--completion", "{answer}")
SMALL = ("--set", "rank=4", "--set", "layers=1", "--set", "epochs=2", "--set", "batch_size=8", "--set", "max_length=64")


@pytest.fixture
def finetune(client, base, around, monkeypatch):
    """Runs a command as the owner; gives its standard output."""

    @asynccontextmanager
    async def as_owner(self, *, signed_in=True):
        async with around.client(OWNER, client.endpoints.factory) as mine:
            yield mine

    monkeypatch.setattr(Connection, "client", as_owner)

    async def run(*words, status=0):
        result = await asyncio.to_thread(CliRunner().invoke, app, ["finetune", *map(str, words)])
        assert result.exit_code == status, result.output
        return result.stderr if status else result.stdout

    return run


async def test_from_a_question_to_a_published_adapter(finetune, base, tmp_path):
    data = ("--base", base, "-s", SNAPSHOT, *TEMPLATES, *SMALL)
    told = await finetune("estimate", *data)
    assert "Apache-2.0 AND CC-BY-4.0" in told
    assert "records" in told

    events = (
        await finetune("create", "--adapter", "letters", *data, "--set", "seed=41", "--watch", "--json")
    ).splitlines()
    assert json.loads(events[-1])["state"] == "FINE_TUNE_STATE_SUCCEEDED"
    [job] = json.loads(await finetune("list", "--json"))["fine_tunes"]
    name = job["name"].partition("/")[2]
    assert "succeeded" in await finetune("show", name)
    assert name in await finetune("list", "--filter", "status = succeeded")

    await finetune("export", name, "--out", tmp_path / "run.yaml")
    assert (tmp_path / "run.yaml").read_text() == await finetune("export", name)
    assert json.loads(await finetune("export", name, "--json"))["content"] == (tmp_path / "run.yaml").read_text()
    assert "Apache-2.0" in await finetune("estimate", "--file", tmp_path / "run.yaml")
    again = json.loads(await finetune("create", "-f", tmp_path / "run.yaml", "--json"))
    assert again["spec"] == job["spec"]
    assert "succeeded" in await finetune("watch", again["name"])

    other = json.loads(await finetune("clone", name, "--set", "seed=42", "--json"))
    assert "cancelled" in await finetune("cancel", other["name"])
    side_by_side = await finetune("compare", name, other["name"])
    assert "training.seed" in side_by_side
    assert "41" in side_by_side

    published = json.loads(await finetune("publish", name, "--json"))
    assert published["name"] == job["revision"]
    shown = await finetune("revision", published["name"])
    assert published["index_root"] in shown
    assert "on chain" in shown
    retired = await finetune("deprecate", published["name"], "--reason", "a better one is out")
    assert "a better one is out" in retired


async def test_what_was_measured_is_shown_and_kept(finetune, base, tmp_path):
    data = ("--base", base, "-s", SNAPSHOT, *TEMPLATES, *SMALL, "--set", "seed=43")
    job = await finetune("create", "--adapter", "letters", *data, "--json")
    name = json.loads(job)["name"]
    await finetune("watch", name)
    await finetune("evaluation", name, "--out", tmp_path / "report")
    report = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert report == json.loads(await finetune("evaluation", name, "--json"))
    assert len(report["samples"]) > 0
    assert list((tmp_path / "report").glob("*.png"))


async def test_a_fine_tune_that_fails_is_an_exit_status(finetune, base):
    short = ("--base", base, "-s", SNAPSHOT, *TEMPLATES, *SMALL, "--set", "max_length=16")
    job = json.loads(await finetune("create", "--adapter", "letters", *short, "--json"))
    await finetune("watch", job["name"], status=1)
    assert "NO_USABLE_RECORDS" in await finetune("show", job["name"])


@pytest.mark.parametrize(
    ("words", "said"),
    (
        (("show", "none"), "FINE_TUNE_NOT_FOUND"),
        (("list", "--filter", "colour = red"), "there is no field 'colour'"),
        (("estimate", "--set", "colour=red"), "settings are base, snapshots"),
        (("create", "--file", "nowhere.yaml"), "nowhere.yaml"),
        (("estimate", "-s", SNAPSHOT), "spec.prompt_template: is required"),
        (("compare", "a"), "two to eight"),
    ),
)
async def test_what_cannot_be_is_told_in_words(finetune, words, said):
    assert said in await finetune(*words, status=1)


async def test_the_base_models_are_listed(finetune, base):
    assert "tiny" in await finetune("bases")
    assert json.loads(await finetune("bases", "--json"))["base_models"][0]["available"]
