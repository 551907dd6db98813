"""Which tests are the long ones': those that take longer than `LIMIT` seconds, by what was measured.

    make test ARGS="--junitxml=fast.xml -o junit_duration_report=call"
    python -m tools.long_tests fast.xml

writes tests/long.txt, a test a line, which tests/conftest.py marks as `long` beside those that say so themselves:
`make test` leaves them to `make test-long`.  What was measured and is not longer comes off the list; what was not
measured stays as it is.  Only the tests' own time counts: what a module shares would only fall to its next test.
What it does not know: how busy the machine was.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

LIMIT = 1.5
FILE = Path(__file__).resolve().parents[1] / "tests" / "long.txt"
NEVER = ("tests/e2e/",)
"""The whole path is a fast test whatever it takes: there is one."""


def main(reports: list[str]) -> None:
    found = revised(listed(), (pair for report in reports for pair in measured(Path(report))))
    FILE.write_text("".join(f"{test}\n" for test in found), encoding="utf-8")
    sys.stdout.write(f"{FILE.name}: {len(found)} tests\n")


def listed() -> list[str]:
    """The tests that are on the list, by pytest's names."""
    return FILE.read_text(encoding="utf-8").splitlines() if FILE.exists() else []


def measured(report: Path) -> Iterator[tuple[str, float]]:
    """(pytest's name of a test, seconds) of a JUnit report of ours."""
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it, here
        yield f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name']}", float(case.attrib["time"])


def revised(before: Iterable[str], times: Iterable[tuple[str, float]]) -> list[str]:
    """The list as it should be, sorted."""
    found = set(before)
    for test, seconds in times:
        if seconds > LIMIT and not test.startswith(NEVER):
            found.add(test)
        else:
            found.discard(test)
    return sorted(found)


if __name__ == "__main__":
    main(sys.argv[1:])
