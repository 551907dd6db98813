"""Alert rules: Prometheus' own tool sees each fire and clear; what they name is there, and each has its runbook."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.needs import needs
from tests.unit.test_metrics_page import SERVICES, code

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "deploy/helm/openledger/rules").glob("*.yaml"))
RULES = [rule for path in FILES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
RUNBOOKS = ROOT / "docs/runbooks"


class Case(NamedTuple):
    """A series, one value a minute from 0 on; minutes at which the alert is not there yet, fires, has cleared.

    beside: what else is measured meanwhile.
    """

    alert: str
    series: str
    values: str
    before: int
    fires: int
    cleared: int
    labels: dict[str, str]
    beside: dict[str, str] = {}  # noqa: RUF012


def gauge(alert: str, name: str, wait: int, value: int = 1, fine: int = 0, **labels: str) -> Case:
    """Fine for 5 minutes, wrong for `wait` and 10 more, fine again."""
    inside = ",".join(f'{key}="{text}"' for key, text in labels.items())
    values = f"{fine}x4 {value}x{wait + 9} {fine}x20"
    before = 4 if wait == 0 else 5 + wait - 1
    return Case(alert, f"{name}{{{inside}}}", values, before, 5 + wait, 5 + wait + 11, labels)


def counter(alert: str, name: str, values: str, at: tuple[int, int, int], **labels: str) -> Case:
    inside = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return Case(alert, f"{name}{{{inside}}}", values, *at, labels)


LEDGER, ATTRIBUTION, OPENLORA = "openledger_ledger_", "openledger_attribution_", "openledger_openlora_"
FAILED, ANSWERED = (f'{OPENLORA}answers_total{{outcome="{outcome}"}}' for outcome in ("INTERNAL", "completed"))
SOON = ATTRIBUTION + 'receipt_delay_seconds_bucket{le="60.0"}'
RECEIPTS = ATTRIBUTION + "receipt_delay_seconds_count"
SILENT = gauge("ReplicaSilent", ATTRIBUTION + "replica_silent_seconds", 1, value=61, fine=60, replica="a")
QUEUED = gauge("QueueStands", OPENLORA + "queued", 5, value=3)
UNREAD = gauge("ChainNotRead", LEDGER + "chain_read_ago_seconds", 5, value=601, fine=600, job="j")
WITHIN = LEDGER + 'chain_read_within_seconds{job="j"}'
CASES = (
    gauge("ServiceDown", "up", 15, value=0, fine=1, job="trial/openledger", instance="a:1"),
    counter(
        "BackgroundFailing",
        "openledger_factory_background_failures_total",
        "0x9 1+1x20 21x40",
        (10, 25, 60),
        job="j",
        task="t",
    ),
    gauge("BooksWrong", LEDGER + "journals_unbalanced", 0),
    gauge("BooksWrong", LEDGER + "books_wrong", 0),
    gauge("ChainDiffers", LEDGER + "chain_differs_open", 5),
    gauge("MoneyShort", LEDGER + "lapsed_open", 5),
    gauge("MoneyShort", LEDGER + "shortfall_open", 5),
    gauge("EpochUnderfunded", LEDGER + "underfunded_open", 10),
    gauge("EpochHeldUp", LEDGER + "epochs_held_up", 10),
    gauge("StruckRootBack", LEDGER + "struck_roots_back", 0),
    gauge("PayerDebt", LEDGER + "payer_debt_open", 10),
    gauge("NobodySends", LEDGER + "sending", 2, value=0, fine=1, job="j"),
    gauge("ChainBehind", LEDGER + "chain_behind_blocks", 10, value=101, fine=100),
    UNREAD._replace(beside={WITHIN: "1800x60"}),
    # Another replica, which says otherwise, hides nothing.
    UNREAD._replace(beside={WITHIN: "1800x60", LEDGER + 'chain_read_ago_seconds{job="j",instance="b"}': "0x60"}),
    # With a small lag nothing is booked long before.
    gauge("ChainNotRead", LEDGER + "chain_read_ago_seconds", 5, value=31, fine=30, job="j")._replace(
        beside={WITHIN: "30x60"}
    ),
    UNREAD._replace(values="0x4" + " Inf" * 15 + " 0x20", beside={WITHIN: "1800x60"}),
    gauge("NodeBehind", LEDGER + "node_behind_blocks", 10),
    gauge("SumsDoubted", LEDGER + "sums_doubted", 60),
    gauge("ClockOff", LEDGER + "chain_ahead_seconds", 5, value=61, fine=60),
    gauge("TransactionsPricedOut", LEDGER + "transactions_priced_out", 15),
    gauge("NoncesMissing", LEDGER + "nonces_missing", 5),
    gauge("ReceiptsBehind", LEDGER + "receipts_behind", 10, value=1001, fine=1000),
    gauge("ReceiptsUnread", LEDGER + "receipts_read_ago_seconds", 5, value=601, fine=600, job="j"),
    SILENT._replace(beside={ATTRIBUTION + 'trace_lag{replica="a"}': "1x60"}),
    SILENT._replace(beside={'up{job="openledger",instance="a:1",pod="a"}': "1x60"}),
    # The first of a reason begins a series at 1, of which no increase is seen; a later one rises.
    counter("DeadLetters", ATTRIBUTION + "dead_letters_total", "_x4 1x40", (3, 6, 25), reason="TOO_LARGE_HERE"),
    counter("DeadLetters", ATTRIBUTION + "dead_letters_total", "1x29 2x40", (28, 32, 50), reason="TOO_LARGE_HERE"),
    gauge("AttributionBehind", ATTRIBUTION + "trace_lag", 10, value=10001, fine=10000, job="j", replica="a"),
    counter("PrivateFilesFailing", ATTRIBUTION + "private_files_failed_total", "0x9 1+1x20 21x60", (10, 28, 80)),
    gauge("TracesBehind", OPENLORA + "trace_lag", 5, value=50001, fine=50000),
    gauge("DiskFull", OPENLORA + "disk_full", 0),
    QUEUED,
    # Refusals answer nobody, and neither does a caller who gives up.
    QUEUED._replace(beside={OPENLORA + 'answers_total{outcome="QUEUE_FULL"}': "0+9x60"}),
    QUEUED._replace(beside={OPENLORA + 'answers_total{outcome="cancelled"}': "0+9x60"}),
    # One of ten fails for two hours; then one of fifty.
    Case("AnswersFailing", FAILED, "0x4 0+1x120 120x200", 12, 60, 140, {}, {ANSWERED: "0+9x400"}),
    Case("AnswersFailingSlowly", FAILED, "0x4 0+1x120 120x200", 15, 60, 260, {}, {ANSWERED: "0+49x400"}),
    # Two of ten are late for two hours; then one of twenty.
    Case("ReceiptsLate", SOON, "0+10x4 48+8x120 1018+10x200", 12, 60, 140, {}, {RECEIPTS: "0+10x400"}),
    Case("ReceiptsLateSlowly", SOON, "0+20x4 99+19x120 2399+20x200", 10, 60, 265, {}, {RECEIPTS: "0+20x400"}),
    gauge("RevisionsUnregistered", "openledger_factory_revisions_unregistered", 60),
    gauge("SnapshotsUnanchored", "openledger_datanet_snapshots_unanchored", 60),
    gauge("ErasuresUndone", "openledger_datanet_erasures_undone", 15),
)


def as_test(case: Case) -> dict[str, object]:
    """The case in promtool's form."""
    [rule] = [each for each in RULES if each["alert"] == case.alert]
    firing = {"exp_labels": rule["labels"] | case.labels, "exp_annotations": rule["annotations"]}
    times = ((case.before, []), (case.fires, [firing]), (case.cleared, []))
    return {
        "interval": "1m",
        "input_series": [
            {"series": series, "values": values}
            for series, values in ({case.series: case.values} | case.beside).items()
        ],
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": case.alert, "exp_alerts": alerts} for minute, alerts in times
        ],
    }


def checked(case: dict[str, object], folder: Path) -> None:
    test = {"rule_files": [str(path) for path in FILES], "evaluation_interval": "1m", "tests": [case]}
    (folder / "test.json").write_text(json.dumps(test))
    done = subprocess.run(
        [shutil.which("promtool"), "test", "rules", folder / "test.json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs("promtool")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.series.partition("{")[0])
def test_it_fires_when_it_should_and_clears(case, tmp_path):
    checked(as_test(case), tmp_path)


QUIET = (
    # Scaled down: it is silent for good, and nothing of it waits; another replica is there.
    SILENT._replace(
        values="0x4 61+60x55",
        beside={
            ATTRIBUTION + 'trace_lag{replica="a"}': "0x60",
            ATTRIBUTION + 'trace_lag{replica="b"}': "5x60",
            'up{job="openledger",instance="b:1",pod="b"}': "1x60",
        },
    ),
    SILENT._replace(
        values="0x4 61+60x55",
        beside={
            ATTRIBUTION + 'trace_lag{replica="a"}': "0x60",
            'up{job="openledger",instance="a:1",pod="a"}': "1x4 0x55",
        },
    ),
    # Callers' own faults, and who hangs up, are no failures of ours.
    Case(
        "AnswersFailing",
        OPENLORA + 'answers_total{outcome="UNKNOWN_MODEL"}',
        "0+9x60",
        0,
        0,
        0,
        {},
        {ANSWERED: "0+1x60"},
    ),
    Case(
        "AnswersFailing", OPENLORA + 'answers_total{outcome="cancelled"}', "0+9x60", 0, 0, 0, {}, {ANSWERED: "0+1x60"}
    ),
    # Load: there is always somebody who waits, and always somebody who is answered.
    QUEUED._replace(values="3x60", beside={OPENLORA + 'answers_total{outcome="completed"}': "0+1x60"}),
)


@needs("promtool")
@pytest.mark.parametrize("case", QUIET, ids=lambda case: case.alert)
def test_it_is_quiet_where_nothing_is_wrong(case, tmp_path):
    minutes = [{"eval_time": f"{minute}m", "alertname": case.alert, "exp_alerts": []} for minute in range(0, 60, 5)]
    checked(as_test(case) | {"alert_rule_test": minutes}, tmp_path)


def test_each_rule_is_tried():
    assert sorted({case.alert for case in CASES}) == sorted(rule["alert"] for rule in RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_what_a_rule_names_is_there(rule):
    of_all = [row.name.replace("<service>", service) for row in code() for service in SERVICES]
    there = {name + suffix for name in of_all for suffix in ("", "_bucket", "_sum", "_count")}
    patterns = re.findall(r'__name__=~"([^"]*)"', rule["expr"])
    assert all(any(re.fullmatch(pattern, name) for name in there) for pattern in patterns)
    named = set(re.findall(r"openledger_[a-z]+_[a-z_]+", re.sub(r'__name__=~"[^"]*"', "", rule["expr"])))
    assert named <= there
    assert named or patterns or "up{" in rule["expr"]
    assert rule["labels"]["severity"] in {"critical", "warning"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_has_its_runbook(rule):
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"
    text = (RUNBOOKS / f"{rule['alert']}.md").read_text()
    assert text.startswith(f"# {rule['alert']}\n\n{rule['annotations']['summary']}.\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["What it means", "What to look at", "What to do"]


def test_no_runbook_is_left_over_and_no_link_leads_nowhere():
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {rule["alert"] for rule in RULES}
    for path in RUNBOOKS.glob("*.md"):
        for file, heading in re.findall(r"\]\(([^)#]+)#?([^)]*)\)", path.read_text()):
            lines = (RUNBOOKS / file).read_text().splitlines()
            headings = [re.sub(r"[^a-z0-9 -]", "", line.strip("# ").lower()).replace(" ", "-") for line in lines]
            assert not heading or heading in headings, f"{path.name}: {file}#{heading}"
