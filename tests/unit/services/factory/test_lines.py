from __future__ import annotations

from services.factory.data import Record
from services.factory.lines import line, parse


def test_what_is_written_is_read_whatever_the_text():
    records = [
        Record("datanets/d/records/1", "0x" + "0" * 40, {"text": "one\ntwo\r\x85\u2028three \U0001f600"}),
        Record("datanets/d/records/2", "0x" + "1" * 40, {"b": "", "a": '"'}),
    ]
    assert parse(b"".join(line(r.name, r.contributor, r.fields) for r in records)) == records


def test_a_line_has_one_spelling():
    assert line("n", "c", {"b": "2", "a": "1"}) == b'{"contributor":"c","fields":{"a":"1","b":"2"},"record":"n"}\n'


def test_no_records_are_an_empty_file():
    assert parse(b"") == []
