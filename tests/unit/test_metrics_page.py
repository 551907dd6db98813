"""docs/metrics.md and the code name the same metrics, with the same kinds, labels and texts."""

from __future__ import annotations

import ast
import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from services.openlora.adapters import BASE
from services.openlora.gauges import Gauges, Numbers
from services.openlora.meters import _TEXTS

ROOT = Path(__file__).parents[2]
SERVICES = ("datanet", "factory", "openlora", "attribution", "ledger")
KINDS = ("counter", "gauge", "histogram")
ROW = re.compile(r"\| `([^`{]+)(?:\{([^}]*)\})?` \| (\w+) \| (.*) \|\Z")
NAMED = re.compile(r"`(openledger_(\w+?)_[a-z_]+|openledger_<service>_[a-z_]+)(?:\{([a-z_,]*)\})?`")


class Row(NamedTuple):
    """A metric, as a line of the page has it."""

    name: str
    labels: tuple[str, ...]
    kind: str
    text: str


def declared(folder: Path, prefix: str) -> Iterator[Row]:
    """What the folder's modules have the kit make: every call of counter, gauge, histogram with a name."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in KINDS:
                # A name that is not written out here could not be looked for: it raises.
                name, text, *labels = (ast.literal_eval(each) for each in node.args)
                yield Row(prefix + name, tuple(labels), node.func.attr, text)


def looked() -> Iterator[Row]:
    """What OpenLoRA makes when somebody looks, with one of everything there is."""

    async def look() -> list[Row]:
        ask = SimpleNamespace(model=BASE, tenant="0x1")
        status = SimpleNamespace(name="a", state=SimpleNamespace(value="READY"))
        turns = SimpleNamespace(queue=[ask], active=["a"])
        kept = SimpleNamespace(counts=Counter(), statuses=lambda: [status])
        numbers = Numbers({name: (text, lambda: 0.0) for name, text in _TEXTS.items()})
        rows = []
        for family in [*Gauges(turns, 1, kept).look(), *numbers.look()]:
            [sample] = family.samples
            rows.append(Row(sample.name, tuple(sample.labels), family.type, family.documentation))
        return rows

    yield from asyncio.run(look())


@cache
def code() -> tuple[Row, ...]:
    """Every metric that the services make."""
    every = list(declared(ROOT / "services/kit", "openledger_<service>_"))
    for service in SERVICES:
        every += declared(ROOT / "services" / service, f"openledger_{service}_")
    return (*every, *looked())


def page() -> list[Row]:
    lines = (ROOT / "docs/metrics.md").read_text().splitlines()
    found = [match.groups() for line in lines if (match := ROW.match(line))]
    return [Row(name, tuple(filter(None, (labels or "").split(","))), kind, text) for name, labels, kind, text in found]


def test_the_page_has_what_the_code_has():
    assert sorted(page()) == sorted(code())


def test_the_code_is_read_where_metrics_are_made():
    names = {row.name for row in code()}
    assert {
        "openledger_<service>_rpcs_total",
        "openledger_ledger_books_wrong",
        "openledger_openlora_adapter_loads_total",
        "vllm:lora_requests_info",
    } <= names


def test_a_name_that_is_not_written_out_is_refused(tmp_path):
    (tmp_path / "module.py").write_text("metrics.gauge(name, 'text')\n")
    with pytest.raises(ValueError, match="malformed"):
        list(declared(tmp_path, "openledger_x_"))


@pytest.mark.parametrize("row", code(), ids=lambda row: row.name)
def test_names_keep_prometheus_rules(row):
    assert row.name.endswith("_total") == (row.kind == "counter")
    assert row.text[0].isupper() or row.text[0].isdigit()
    assert not row.text.endswith(".")
    assert not {"request_id", "response", "account", "record"} & set(row.labels)


def test_what_to_watch_names_metrics_that_there_are():
    there = {row.name: set(row.labels) for row in code()}
    named = list(NAMED.finditer((ROOT / "docs/operating.md").read_text()))
    assert named
    for match in named:
        name, labels = match[1], set(filter(None, (match[3] or "").split(",")))
        assert name in there, name
        assert labels <= there[name], name
