"""Reasons of refusals: what a service's code raises, and what its page in docs/errors says, are the same.

The Factory's page is in parts, each with a test of its own.
"""

from __future__ import annotations

import ast
import re

import pytest

from tests.needs import ROOT

_REASON = re.compile(r"[A-Z][A-Z_]{3,}\Z")
_RAISERS = {
    "invalid", "not_found", "exists", "denied", "unauthenticated", "precondition", "aborted", "exhausted",
    "unavailable", "refused", "_refused", "Fault", "Refusal", "Refused", "Rejected", "Unattributable", "Problem",
}  # fmt: skip
ELSEWHERE = {"openlora": {"INSUFFICIENT_BALANCE"}}
"""Reasons that a service passes on as another one says them."""


def literals(node: ast.AST) -> set[str]:
    values = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str))
    return {value for value in values if _REASON.match(value)}


def source(service: str) -> ast.Module:
    files = sorted((ROOT / "services" / service).rglob("*.py"))
    return ast.Module([statement for file in files for statement in ast.parse(file.read_text()).body], [])


def raised(tree: ast.Module) -> set[str]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = [call for call in calls if getattr(call.func, "id", getattr(call.func, "attr", "")) in _RAISERS]
    arguments = [argument for call in named for argument in call.args if isinstance(argument, ast.Constant)]
    arguments += [keyword.value for call in calls for keyword in call.keywords if keyword.arg == "reason"]
    return {reason for argument in arguments for reason in literals(argument)}


def documented(page: str) -> set[str]:
    text = (ROOT / "docs" / "errors" / f"{page}.md").read_text()
    cells = re.findall(r"^\| (`[A-Z_`, ]+) \|", text, re.MULTILINE)
    return {reason for cell in cells for reason in re.findall(r"[A-Z_]{3,}", cell)}


@pytest.mark.parametrize("service", ("attribution", "datanet", "ledger", "openlora"))
def test_every_reason_is_documented_and_every_documented_reason_exists(service):
    tree, of_the_kit = source(service), documented("README")
    found, told = raised(tree), documented(service)
    assert found - told - of_the_kit == set()
    assert told - literals(tree) - of_the_kit - ELSEWHERE.get(service, set()) == set()
    assert len(found) > 10
