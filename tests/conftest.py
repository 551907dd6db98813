"""What holds for every test: the skip policy of tests/needs.py. In CI any skip that it does not allow is a failure."""

from __future__ import annotations

import pytest

from tests.needs import CI, OPTIONAL_IN_CI, PROBES, missing, require


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        require(*mark.args)


def _forbidden_skips(reporter: pytest.TerminalReporter) -> list[str]:
    """Test ids that were skipped in CI for any reason but a thing that CI cannot have."""
    allowed = tuple(f"needs {name}," for name in OPTIONAL_IN_CI)
    skipped = reporter.stats.get("skipped", []) if CI else []
    return [report.nodeid for report in skipped if not any(text in str(report.longrepr) for text in allowed)]


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and _forbidden_skips(reporter) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, count in sorted(missing.items()):
        terminalreporter.write_line(
            f"NOT TESTED HERE: {name} ({count} tests); to have it: {PROBES[name][1]}", yellow=True, bold=True
        )
    for nodeid in _forbidden_skips(terminalreporter):
        terminalreporter.write_line(f"SKIPPED IN CI, which counts as a failure: {nodeid}", red=True, bold=True)
