"""Any bytes under any name: entries and problems, within bounds, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.datanet.files.limits import Limits
from services.datanet.files.parsed import Answer
from tests import hostile_files as files
from tests.file_rules import WHOLE, check, look

MAGIC = (b"", b"%PDF-1.7\n", b"PK\x03\x04", b"\xff\xfe", b"\xef\xbb\xbf", b"text\n", b'{"text": "', b"# ")


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_has_records_and_no_problem(name):
    entries, problems = look(WHOLE[name], name)
    assert entries
    assert problems == []


@settings(deadline=None)
@given(st.sampled_from(MAGIC), st.binary(max_size=300), st.sampled_from([*WHOLE, "a", "a.png"]))
def test_any_bytes_are_records_or_problems(magic, data, name):
    check(magic + data, name)


@settings(deadline=None)
@given(
    st.sampled_from([*WHOLE]),
    st.lists(st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=8)), max_size=8),
    st.integers(0, 400),
    st.sampled_from(({}, {"whole": "text"}, {"section": "text"})),
)
def test_a_broken_file_is_records_or_problems(name, changes, cut, mapping):
    data = bytearray(WHOLE[name])
    for place, change in changes:
        start = place % len(data)
        data[start : start + len(change)] = change
    check(bytes(data[: max(1, len(data) - cut)]), name, mapping=mapping)


@settings(deadline=None)
@given(
    st.text(max_size=200),
    st.sampled_from(("a.csv", "a.md", "a.txt", "a.jsonl", "a")),
    st.sampled_from(("utf-8", "utf-16")),
)
def test_any_text_is_records_or_problems(text, name, encoding):
    check(text.encode(encoding, "surrogatepass"), name)


def test_so_many_records_and_bytes_are_taken_of_a_file_and_the_rest_is_named():
    data = files.jsonl(*("abcd" for _ in range(5)))
    entries, problems = look(data, "a.jsonl", limits=Limits(records=3))
    assert (len(entries), [(p.place, p.reason) for p in problems]) == (3, [("line 4", "FILE_TOO_LONG")])
    entries, problems = look(data, "a.jsonl", limits=Limits(text_bytes=8))
    assert (len(entries), [(p.place, p.reason) for p in problems]) == (2, [("line 3", "FILE_TOO_LONG")])
    assert look(data, "a.jsonl", limits=Limits(records=5, text_bytes=20))[1] == []


def test_so_many_problems_are_told_of_a_file():
    _, problems = look(b'{"text": "a"}\n' + b"no\n" * 2000, "a.jsonl")
    assert len(problems) == 1001
    assert problems[-1].reason == "TOO_MANY_PROBLEMS"


@pytest.mark.parametrize("name", ("a.txt", "a.jsonl", "a.csv", "a.md"))
def test_a_file_of_nothing_says_so(name):
    assert [problem.reason for problem in look(b" \n\n", name)[1]] == ["NOTHING_FOUND"]


@pytest.mark.parametrize("data", (b"", b"\x00" * 8, b"\x00" * 7 + b"\x02{}", b"\x00" * 7 + b"\x04null", b"\xff" * 20))
def test_an_answer_of_another_form_is_refused(data):
    with pytest.raises(ValueError, match=r".*"):
        Answer(data)
