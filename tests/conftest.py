"""What holds for every test: the skip policy of tests/needs.py. In CI any skip that it does not allow is a failure."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from services.kit import logs
from tests import postgres
from tests.needs import CI, OPTIONAL_IN_CI, PROBES, require
from tools import long_tests

# CI asks whether this change broke something, so it draws the same examples each time; people's own runs look for more.
# No example has a time limit of its own: how long one takes is the machine's business, and other tests'.
hypothesis.settings.register_profile("ours", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if CI else "ours")

ONE_PROCESS = ("tests/contract/engine/",)


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[str]:
    """A PostgreSQL server of this test run's own."""
    with postgres.cluster() as url:
        yield url


@pytest.fixture(params=("sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgresql"))))
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, once of each kind that services run on."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/service.db"
        return
    with postgres.fresh_database(request.getfixturevalue("postgres_cluster")) as url:
        yield url


def pytest_configure() -> None:
    # A shell starts what it runs in the background with Ctrl-C ignored, and children inherit that: tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # As services do.  What structlog does unasked renders every local of every frame: seconds a traceback.
    logs.configure("info")
    if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes: threads of its own would only be in their way
        import torch

        torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is on the list (tools/long_tests.py) is marked before any is chosen by its marks."""
    listed = frozenset(long_tests.listed())
    for item in items:
        if item.nodeid in listed:
            item.add_marker(pytest.mark.long)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A module's tests run in one process, as loadscope has it; so do a folder's whose engines are opened once."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((folder for folder in ONE_PROCESS if nodeid.startswith(folder)), super()._split_scope(nodeid))

    return Scheduling(config, log) if config.getoption("dist") == "loadscope" else None


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
    texts = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    missing = Counter(name for text in texts for name in re.findall(r"needs (\w+), which this machine lacks", text))
    for name, count in sorted(missing.items()):
        terminalreporter.write_line(
            f"NOT TESTED HERE: {name} ({count} tests); to have it: {PROBES[name][1]}", yellow=True, bold=True
        )
    for nodeid in _forbidden_skips(terminalreporter):
        terminalreporter.write_line(f"SKIPPED IN CI, which counts as a failure: {nodeid}", red=True, bold=True)
