"""The commands by which docs/kubernetes.md has an installation upgraded, one service after another."""

from __future__ import annotations

import re
import shlex

from tests.deploy.kubernetes import component, containers, pods
from tools import chart

PAGE = (chart.ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
STEPS = [shlex.split(line) for line in re.findall(r"(?m)^    upgrade (.*)$", PAGE)]


def newer(arguments: list[str]) -> set[str]:
    """Which services' pods, and jobs that bring their databases up to date, are of the new version then."""
    settings = [each.replace("$NEW", "9.9.9") for each in arguments]
    found = set()
    for name, pod in pods(chart.objects(chart.render("production", *settings))):
        if pod["of"] == "Pod":  # of `helm test`
            continue
        versions = {each["image"].rpartition(":")[2] == "9.9.9" for each in containers(pod)}
        assert len(versions) == 1, name
        of = component({"metadata": pod["metadata"]}) if pod["of"] == "StatefulSet" else name.split("-")[-2]
        if versions == {True}:
            found.add(f"{pod['of']} {of}")
    return found


def test_who_reads_is_upgraded_before_who_writes():
    (*steps, (last,)) = STEPS
    assert [where for where, *_ in steps] == ["./installed"] * 3
    assert last == "./new"
    ledger = {"StatefulSet ledger", "Job ledger"}
    attribution = ledger | {"StatefulSet attribution", "Job attribution"}
    assert [newer(step) for _, *step in steps] == [ledger, attribution, attribution | {"StatefulSet openlora"}]
