"""What `helm test` runs, on real processes: one answer, paid, attributed, booked and verified, over mutual TLS."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest

from openledger import tls
from openledger.cli.installation import Installation
from openledger.cli.supervisor import Supervisor
from tests import tiny_model
from tests.certificates import Authority
from tests.needs import ROOT
from tests.ports import six_free_ports
from tools.chart import CHART

SERVICES = ("ledger", "openlora", "attribution")
SCRIPT = CHART / "files" / "paid_answer.py"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


async def test_an_answer_is_paid_attributed_booked_and_verified_over_mutual_tls(tmp_path):
    files = Authority().issue(tmp_path / "tls")
    told = {
        "TLS_AUTHORITY_FILE": str(files.authority),
        "TLS_CERTIFICATE_FILE": str(files.certificate),
        "TLS_KEY_FILE": str(files.key),
    }
    here = Installation(
        tmp_path / "installation",
        six_free_ports(),
        engine="transformers",
        base=str(tiny_model.make(tmp_path / "base")),
        services=SERVICES,
        extra=dict.fromkeys(SERVICES, told),
    )
    here.make()
    async with Supervisor(here.waves(), lambda *_: None):
        certificate = {
            tls.AUTHORITY: str(files.authority),
            tls.CERTIFICATE: str(files.certificate),
            tls.KEY: str(files.key),
        }
        status, said = await paid_answer(here, "treasury", certificate)
        assert status == 0, said
        assert [line.split(":")[0] for line in said.splitlines()] == [
            "· 1 OPEN paid in",
            "· answered",
            "· attributed",
            "· booked by the ledger",
            "· verified from what was published",
        ]
        await followed(here, certificate)
        for key, environment, says in (
            ("treasury", {}, "✗ openledger deposit: "),  # in clear: nobody listens
            ("platform", certificate, "✗ openledger deposit: "),  # has no OPEN
            ("nobody", certificate, "✗ "),  # there is no such key
        ):
            status, said = await paid_answer(here, key, environment)
            assert status == 1
            assert says in said
            assert "Traceback" not in said


async def followed(here: Installation, certificate: dict[str, str]) -> None:
    """`openledger trace` of what was just answered: everywhere but in an epoch, which nobody has closed."""
    said = await openledger(here, certificate, "statement", status=0)
    [response] = {line["cause"] for line in json.loads(said)["postings"] if line["kind"] == "inference"}
    way = json.loads(await openledger(here, certificate, "trace", response, status=2))
    assert way["receipt"]["response"] == way["payout"]["response"] == response
    assert way["payout"]["receipt_sha256"] == way["receipt"]["sha256"]
    assert way["epoch"] is None
    assert "no epoch has settled it yet" in way["missing"]
    for service in SERVICES:
        logged = (here.folder / "logs" / f"{service}.log").read_text()
        assert f'"response": "{response}"' in logged, service


async def openledger(here: Installation, certificate: dict[str, str], *words: str, status: int) -> str:
    at = [f"--at={name}={getattr(here.endpoints, name)}" for name in vars(here.endpoints)]
    command = (sys.executable, "-m", "openledger.cli.main", *words, f"--key={here.key_file('treasury')}", *at, "--json")
    child = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env={**os.environ, **certificate}, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await child.communicate()
    assert child.returncode == status
    return output.decode()


async def paid_answer(here: Installation, key: str, environment: dict[str, str]) -> tuple[int | None, str]:
    at = [f"--at={name}={getattr(here.endpoints, name)}" for name in vars(here.endpoints)]
    where = (f"--key={here.key_file(key)}", f"--artifacts={here.artifacts}", f"--base={here.base}", *at)
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SCRIPT),
        *where,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await child.communicate()
    return child.returncode, output.decode()
