"""Rows with columns: what is taken as it stands, and which row is no row."""

from __future__ import annotations

import json

import pytest

from services.datanet.files import table
from services.datanet.files.found import Problem, Refused, Row


def found(source) -> list[tuple]:
    return [(f.place, dict(f.texts)) if isinstance(f, Row) else (f.place, f.reason) for f in source.rows]


def test_an_object_a_line_and_values_as_they_are_written():
    data = b'{"a": "x", "b": 1.50, "c": true, "d": null}\r\n\n{"a": ["y", 2], "b": 1e400}\n'
    source = table.read_jsonl(data)
    assert source.parts == ("a", "b", "c")
    assert found(source) == [
        ("line 1", {"a": "x", "b": "1.50", "c": "true"}),
        ("line 3", {"a": '["y", "2"]', "b": "1e400"}),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    (
        (b"[1]", "LINE_NOT_JSON"),
        (b'"text"', "LINE_NOT_JSON"),
        (b'{"a": ', "LINE_NOT_JSON"),
        (b"[" * 100_000, "LINE_NOT_JSON"),
        (b'{"a": "caf\xe9"}', "LINE_NOT_UNICODE"),
        (b'{"a": "' + b"x" * 2**20 + b'"}', "LINE_TOO_LONG"),
        (json.dumps({str(i): "" for i in range(1001)}).encode(), "TOO_MANY_COLUMNS"),
    ),
)
def test_a_bad_line_is_named_and_the_others_are_read(line, reason):
    source = table.read_jsonl(b'{"a": "1"}\n' + line + b'\n{"a": "2"}')
    assert found(source) == [("line 1", {"a": "1"}), ("line 2", reason), ("line 3", {"a": "2"})]


def test_a_number_of_any_length_is_a_text():
    assert found(table.read_jsonl(b'{"a": ' + b"9" * 10_000 + b"}")) == [("line 1", {"a": "9" * 10_000})]


def test_members_that_nobody_can_name_are_no_columns():
    assert table.read_jsonl(b'{"": "1", "\\ud800": "2", "a\\u202e": "3", "b": "4"}').parts == ("b",)


@pytest.mark.parametrize("delimiter", (",", ";", "\t", "|"))
def test_a_delimiter_is_what_parts_evenly(delimiter):
    lines = (("name", "said"), ("Ada", '"first, second; third|fourth"'), ("Bob", "x"))
    data = "\r\n".join(delimiter.join(cells) for cells in lines).encode()
    assert found(table.read_csv(data)) == [
        ("row 2", {"name": "Ada", "said": "first, second; third|fourth"}),
        ("row 3", {"name": "Bob", "said": "x"}),
    ]


def test_a_cell_may_have_lines_and_a_row_may_lack_cells():
    source = table.read_csv(b'\xef\xbb\xbf"a",b\n"x\ny",1\n\n,\nz\n')
    assert source.parts == ("a", "b")
    assert found(source) == [("row 2", {"a": "x\ny", "b": "1"}), ("row 5", {"a": "z"})]


def test_a_row_that_is_too_wide_is_named():
    assert found(table.read_csv(b"a,b\n1,2,3\n4,5\n")) == [("row 2", "ROW_TOO_WIDE"), ("row 3", {"a": "4", "b": "5"})]


@pytest.mark.parametrize(
    ("data", "reason"),
    (
        (b",".join(b"c%d" % i for i in range(1001)) + b"\n", "TOO_MANY_COLUMNS"),
        (b"a,b,a\n1,2,3\n", "COLUMN_TWICE"),
        (b"a" * (2**20 + 1), "LINE_TOO_LONG"),
        (b"," * (2**20 + 1), "LINE_TOO_LONG"),
        (b'a,"b\n1,2\n', "ROW_UNREADABLE"),
    ),
)
def test_a_table_whose_head_cannot_be_read_is_refused(data, reason):
    with pytest.raises(Refused) as caught:
        table.read_csv(data)
    assert caught.value.problem.reason == reason


def test_rows_before_a_bad_one_are_read_and_the_bad_one_is_named():
    rows = iter(table.read_csv(b'a,b\n1,2\n"3"x,4\n5,6\n').rows)
    assert next(rows) == Row("row 2", {"a": "1", "b": "2"})
    with pytest.raises(Refused, match="Nothing after it") as caught:
        next(rows)
    assert (caught.value.problem.reason, caught.value.problem.place) == ("ROW_UNREADABLE", "line 3")


def test_a_line_that_is_too_long_ends_the_table():
    rows = iter(table.read_csv(b"a,b\n1,2\n" + b"x" * (2**20 + 1)).rows)
    assert isinstance(next(rows), Row)
    with pytest.raises(Refused) as caught:
        next(rows)
    assert caught.value.problem == Problem("line 3", "LINE_TOO_LONG", caught.value.problem.message)
