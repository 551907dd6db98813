"""Whose keys count where they are made at the install: what tells the ledger and the chain, run as a pod runs it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from services.ledger import keys
from tests.deploy.kubernetes import containers, pods
from tools import chart

GIVEN = "0x" + "11" * 20
NAMES = ("platform", "treasury", "operator", "attribution")


@pytest.fixture
def made(tmp_path) -> dict[str, str]:
    """A key of each, and whose they are."""
    return {name: keys.account(tmp_path / f"{name}.key").address.lower() for name in NAMES}


def script(container: str, *settings: str) -> str:
    rendered = chart.objects(chart.render("default", *(part for each in settings for part in ("--set", each))))
    (found,) = (each for _, pod in pods(rendered) for each in containers(pod) if each["name"] == container)
    assert found["command"] == ["sh", "-euc"]
    return found["args"][0]


def ran(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The script, with the pod's folders here."""
    for place in ("/etc/openledger/addresses", "/etc/openledger/keys", "/keys"):
        text = text.replace(place, str(folder))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-euc", text], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )


def test_the_ledger_is_told_whose_the_keys_are(made, tmp_path):
    done = ran(script("addresses"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert tomllib.loads((tmp_path / "ledger.toml").read_text()) == {
        "platform": made["platform"],
        "treasury": made["treasury"],
        "operators": [made["operator"]],
        "attribution_signers": [made["attribution"]],
    }


def test_addresses_that_are_given_count_before_those_of_keys_that_were_made(made, tmp_path):
    given = (
        f"addresses.platform={GIVEN}",
        f"addresses.operators={{{GIVEN}}}",
        f"addresses.attributionSigners={{{GIVEN}}}",
    )
    done = ran(script("addresses", *given), tmp_path)
    assert done.returncode == 0, done.stderr
    assert tomllib.loads((tmp_path / "ledger.toml").read_text()) == {
        "platform": GIVEN,
        "treasury": made["treasury"],
        "operators": [GIVEN],
        "attribution_signers": [GIVEN],
    }


@pytest.mark.parametrize("broken", NAMES)
def test_a_key_that_cannot_be_read_ends_it_and_nothing_is_told(broken, made, tmp_path):
    (tmp_path / f"{broken}.key").write_text("no key")
    done = ran(script("addresses"), tmp_path)
    assert done.returncode != 0
    assert not (tmp_path / "ledger.toml").exists()


@pytest.mark.parametrize("broken", ("operator", "treasury"))
def test_the_chain_does_not_start_without_those_it_funds(broken, made, tmp_path):
    (tmp_path / f"{broken}.key").write_text("no key")
    text = script("chain").replace("exec python -m services.ledger.devchain", "exec echo began")
    done = ran(text, tmp_path)
    assert done.returncode != 0
    assert "began" not in done.stdout
