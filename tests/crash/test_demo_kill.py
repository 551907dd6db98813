"""`kill -9` of each of the five services in the running demo, where it works hardest: real model, vLLM, data and chain.

They are started again, the demo goes on, and in the end everything was done once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from openledger import receipt
from tests.demo_process import start
from tests.needs import needs
from tests.ports import six_free_ports

SEED = int(os.environ.get("OPENLEDGER_SEED", "1"))
LIMIT = 1500.0
VICTIMS = {
    "datanet": ("2/8 Contributing", 0.3),
    "factory": ("3/8 Tuning", 20.0),
    "openlora": ("5/8 Asking", 2.0),
    "attribution": ("6/8 Tracing", 0.5),
    "ledger": ("7/8 Settling", 1.5),
}
"""Who is killed in which stage, up to so many seconds after it began."""

pytestmark = [needs("vllm", "model", "hpo"), pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]


def service(demo: subprocess.Popen[bytes], name: str) -> int:
    """The process id of a service that the demo runs."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            command = (process / "cmdline").read_bytes().split(b"\0")
        except (OSError, IndexError):
            continue
        if parent == demo.pid and f"services.{name}".encode() in command:
            return int(process.name)
    raise AssertionError(f"no {name} runs")


def said(log: Path) -> str:
    return " ".join(log.read_text().split())  # lines are wrapped


def test_each_service_is_killed_once_and_the_demo_ends_as_if_none_had_been(tmp_path):
    log, draw, begun = tmp_path / "said.txt", random.Random(SEED), time.monotonic()
    demo = start(tmp_path / "installation", six_free_ports(), log)
    try:
        for name, (stage, within) in VICTIMS.items():
            while stage not in said(log):
                assert demo.poll() is None, said(log)[-3000:]
                assert time.monotonic() - begun < LIMIT, said(log)[-3000:]
                time.sleep(0.01)
            time.sleep(draw.uniform(0, within))
            os.kill(service(demo, name), signal.SIGKILL)
        output, _ = demo.communicate(timeout=LIMIT)
    finally:
        demo.terminate()
        demo.wait(60)
    assert demo.returncode == 0, said(log)[-3000:]
    for name in VICTIMS:
        assert f"{name}: ended with status -9: restarting" in said(log)
    check(tmp_path / "installation", json.loads(output))


def check(folder: Path, report: dict) -> None:
    """Nothing is lost and nothing doubled: records, answers, receipts, money."""
    assert (report["datanet"]["records"], report["datanet"]["contributors"]) == (160, 16)
    assert report["datanet"]["snapshot"].endswith("/snapshots/1")
    assert report["model"]["loss_after"] < report["model"]["loss_before"]
    answers = report["responses"]
    assert len({answer["name"] for answer in answers}) == len(answers) == 8
    receipts = [receipt.parse(file.read_bytes()) for file in (folder / "receipts").glob("*.json")]
    assert sorted(found.response for found in receipts) == sorted(answer["name"] for answer in answers)
    sums, fees = report["conservation"], sum(int(answer["fee"]) for answer in answers)
    assert sums["difference"] == "0"
    assert int(sums["fees"]) == fees == sum(found.fee for found in receipts)
    assert report["settlement"]["epoch"] == "epochs/1"
    claims = report["settlement"]["claims"]
    assert len({claim["account"] for claim in claims}) == len({claim["tx"] for claim in claims}) == len(claims) >= 3
