"""Prometheus, as Debian has it, over services of a test and with the rules of the chart; asked by its own API."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).parents[1] / "deploy/helm/openledger/rules"


def rules() -> list[dict[str, Any]]:
    """Every rule of the files."""
    groups = [group for path in sorted(RULES.glob("*.yaml")) for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    url: str

    def ask(self, path: str, **more: str) -> Any:
        """What it answers under `/api/v1`."""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(more)}", timeout=5) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> dict[str, float]:
        """A vector's values by the targets' instances, of its newest."""
        found = self.ask("query", query=expression)["result"]
        return {each["metric"].get("instance", ""): float(each["value"][1]) for each in found}

    def names(self) -> set[str]:
        """Of all series."""
        return set(self.ask("label/__name__/values"))

    def firing(self) -> set[str]:
        """Alerts that fire now."""
        return {each["labels"]["alertname"] for each in self.ask("alerts")["alerts"] if each["state"] == "firing"}

    def rules(self) -> list[dict[str, Any]]:
        """Each rule, how it is, and what its last evaluation said."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]


async def until(so: Callable[[], object], seconds: float = 30) -> None:
    """Until it is so."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(so):
        assert time.monotonic() < deadline, "it never was so"
        await asyncio.sleep(0.2)


@contextmanager
def running(folder: Path, port: int, targets: list[str]) -> Iterator[Prometheus]:
    """Scrapes the targets, and evaluates the rules, every second."""
    folder.mkdir()
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in sorted(RULES.glob("*.yaml"))],
        "scrape_configs": [{"job_name": "trial/openledger", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    options = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": f"127.0.0.1:{port}",
    }
    command = [shutil.which("prometheus") or "prometheus", *(f"--{key}={value}" for key, value in options.items())]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        _ready(f"http://127.0.0.1:{port}", process, folder / "log")
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"Prometheus does not answer: {log.read_text()[-2000:]}")
