"""What a test that cannot run here does: it is skipped aloud, and in CI that is a failure, but for a GPU."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests import conftest, needs


def skipped(*reasons: str) -> SimpleNamespace:
    """A terminal reporter that saw these skips."""
    reports = [SimpleNamespace(nodeid=f"test_{n}", longrepr=("file", 1, why)) for n, why in enumerate(reasons)]
    return SimpleNamespace(stats={"skipped": reports})


GPU = "Skipped: needs gpu, which this machine lacks (x)"
OTHERS = ("Skipped: needs ray, which this machine lacks (x)", "no time today")


def test_in_ci_only_what_ci_cannot_have_may_be_skipped(monkeypatch):
    monkeypatch.setattr(conftest, "CI", True)
    assert conftest._forbidden_skips(skipped(GPU, *OTHERS)) == ["test_1", "test_2"]
    assert conftest._forbidden_skips(skipped(GPU)) == []
    assert conftest._forbidden_skips(skipped()) == []


def test_elsewhere_everything_may_be_skipped(monkeypatch):
    monkeypatch.setattr(conftest, "CI", False)
    assert conftest._forbidden_skips(skipped(GPU, *OTHERS)) == []


@pytest.mark.parametrize(
    ("before", "reasons", "after"),
    (
        (pytest.ExitCode.OK, OTHERS, pytest.ExitCode.TESTS_FAILED),
        (pytest.ExitCode.OK, (GPU,), pytest.ExitCode.OK),
        (pytest.ExitCode.INTERRUPTED, OTHERS, pytest.ExitCode.INTERRUPTED),
    ),
)
def test_a_forbidden_skip_fails_a_run_that_succeeded(monkeypatch, before, reasons, after):
    monkeypatch.setattr(conftest, "CI", True)
    manager = SimpleNamespace(get_plugin=lambda name: skipped(*reasons))
    session = SimpleNamespace(config=SimpleNamespace(pluginmanager=manager), exitstatus=before)
    conftest.pytest_sessionfinish(session)
    assert session.exitstatus == after


@pytest.mark.parametrize(
    ("ci", "what", "outcome"),
    (
        (False, "ray", pytest.skip.Exception),
        (True, "ray", pytest.fail.Exception),
        (True, "gpu", pytest.skip.Exception),
    ),
)
def test_what_is_missing_is_named_with_how_to_have_it(monkeypatch, ci, what, outcome):
    monkeypatch.setattr(needs, "CI", ci)
    monkeypatch.setitem(needs.PROBES, what, (lambda: False, "buy one"))
    with pytest.raises(outcome, match=rf"needs {what}, which this machine lacks \(buy one\)"):
        needs.require(what)
    monkeypatch.setitem(needs.PROBES, what, (lambda: True, "buy one"))
    needs.require(what)
