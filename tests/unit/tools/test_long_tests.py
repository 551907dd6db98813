"""The list of long tests: made of what was measured, and of tests that there are."""

from __future__ import annotations

import re

from tests.needs import ROOT
from tools import long_tests

REPORT = """<testsuites><testsuite>
<testcase classname="tests.unit.test_a" name="test_slow[one]" time="2.6" />
<testcase classname="tests.unit.test_a" name="test_fast" time="0.1" />
<testcase classname="tests.e2e.test_demo" name="test_all" time="300" />
</testsuite></testsuites>"""


def test_what_took_long_comes_on_the_list_and_what_did_not_comes_off(tmp_path):
    (tmp_path / "report.xml").write_text(REPORT)
    before = ["tests/unit/test_a.py::test_fast", "tests/unit/test_b.py::test_not_run"]
    found = long_tests.revised(before, long_tests.measured(tmp_path / "report.xml"))
    assert found == ["tests/unit/test_a.py::test_slow[one]", "tests/unit/test_b.py::test_not_run"]


def test_each_on_the_list_is_there():
    for test in long_tests.listed():
        file, _, name = test.partition("::")
        defined = rf"^(async )?def {re.escape(name.partition('[')[0])}\("
        assert re.search(defined, (ROOT / file).read_text(), re.MULTILINE), f"{test} is not there any more"
