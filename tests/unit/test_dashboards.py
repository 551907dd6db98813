"""Dashboards: the files are what the tool writes, and every metric and label in them is in the code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from tests.needs import needs
from tests.unit.test_metrics_page import SERVICES, code
from tools import dashboards

FILES = sorted(dashboards.FOLDER.glob("*.json"))
PANELS = [panel for path in FILES for panel in json.loads(path.read_text())["panels"]]
TARGETS = [target for panel in PANELS for target in panel["targets"]]
SCRAPED = {"instance", "job", "le"}
"""Labels that Prometheus adds, and a histogram's own."""


def there() -> dict[str, set[str]]:
    """The labels of every series by its name, of all services."""
    found: dict[str, set[str]] = {}
    for row in code():
        for service in SERVICES if "<service>" in row.name else [""]:
            name = row.name.replace("<service>", service)
            ends = ("_bucket", "_sum", "_count") if row.kind == "histogram" else ("",)
            found |= {name + end: set(row.labels) | SCRAPED for end in ends}
    return found


def test_the_files_are_what_the_tool_writes():
    assert {path.stem for path in FILES} == set(dashboards.DASHBOARDS)
    for path in FILES:
        assert json.loads(path.read_text()) == dashboards.dashboard(path.stem, dashboards.DASHBOARDS[path.stem])


def test_there_is_one_of_all_one_of_each_service_and_one_of_adapters():
    assert set(dashboards.DASHBOARDS) == {"overview", "adapters", *SERVICES}


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows(panel):
    assert panel["title"]
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target["expr"])
def test_metrics_and_labels_are_in_the_code(target):
    series = there()
    names = re.findall(r"openledger_[a-z_]+", target["expr"])
    assert names
    used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    used |= {label.strip() for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in group.split(",")}
    for name in names:
        assert name in series
        assert used <= series[name]


@needs("promtool")
def test_prometheus_reads_every_query(tmp_path):
    rules = [{"record": f"query:{number}", "expr": target["expr"]} for number, target in enumerate(TARGETS)]
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    command = [shutil.which("promtool"), "check", "rules", "--lint=none", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(TARGETS)} rules found" in done.stdout
