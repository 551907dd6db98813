"""What holds of any file whatever that is taken apart."""

from __future__ import annotations

import re
from dataclasses import replace

from services.datanet.files import task
from services.datanet.files.found import Problem
from services.datanet.files.mapping import Entry
from services.datanet.files.parsed import Answer, Job
from services.datanet.text import control_character
from tests import hostile_files as files

JOB = Job("a", ("text", "heading"))
WHOLE = {
    "a.jsonl": files.jsonl("one", "two"),
    "a.csv": b'text,b\n"one, two",3\nfour,5\n',
    "a.txt": "one\n\ntwo é".encode(),
    "a.md": b"# a\nb\n\n## c\nd\n",
    "a.pdf": files.pdf(["one", "two"], {1: "B"}),
    "a.docx": files.docx([("Heading 1", "a"), ("Normal", "b"), [["c", "d"]]]),
}
"""A good file of each kind of text."""


def look(data: bytes, name: str, **more) -> tuple[list[Entry], list[Problem]]:
    """What is found, as the service hears of it."""
    answer = Answer(task.taken_apart(data, replace(JOB, name=name, **more)).dumps())
    found = list(answer.found())
    entries = [each for each in found if isinstance(each, Entry)]
    problems = [each for each in found if isinstance(each, Problem)]
    assert (answer.about.entry_count, answer.about.problem_count) == (len(entries), len(problems))
    return entries, problems


def check(data: bytes, name: str, **more) -> None:
    """Records with texts that can be sent, or problems with words; one of them, and nothing else."""
    entries, problems = look(data, name, **more)
    assert entries or problems
    for entry in entries:
        assert entry.fields
        assert set(entry.fields) <= set(JOB.fields)
        assert all(text and text == text.strip() for text in entry.fields.values())
        assert not any(control_character(text) for text in entry.fields.values())
        "".join((entry.place, *entry.fields.values())).encode()
    for problem in problems:
        assert re.fullmatch("[A-Z][A-Z_]+", problem.reason)
        assert 10 < len(problem.message) < 2500
        f"{problem.place}{problem.message}".encode()
