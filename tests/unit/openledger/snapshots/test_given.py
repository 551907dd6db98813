from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from openledger.snapshots import META, given
from openledger.snapshots.files import FORMATS, Row, Text
from openledger.snapshots.given import Given
from tests.snapshot_samples import ADA

ROW = Row(3, "datanets/terms/records/3", ADA, "CC-BY-4.0", "c" * 64)


def write(place, document) -> None:
    place.write_text(json.dumps(document))


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_what_an_export_wrote_is_read_again(tmp_path, name):
    texts = [Text(ROW, {"text": f"Wörter {n}\n", "hint": ""}, f"source {n}", "5" * 64) for n in range(3)]
    texts.append(Text(ROW, {"text": "no hint"}))
    file, opened = FORMATS[name]
    (tmp_path / "data").mkdir()
    with opened(tmp_path / "data" / file, ["text", "hint"]) as add:
        add(texts)
    read = list(given.read(given.find(tmp_path)))
    assert read == [Given(text.fields, text.source, ADA) for text in texts]
    assert list(given.read(given.find(tmp_path / "data" / file))) == read


def task(*annotations, **data):
    return {"id": 1, "data": data or {"text": "one"}, "annotations": list(annotations), "predictions": [{}]}


def annotation(skipped=False, **chosen):
    results = [{"from_name": name, "to_name": "text", "type": "choices", "value": v} for name, v in chosen.items()]
    return {"id": 7, "was_cancelled": skipped, "result": results}


def test_what_reviewers_answered_in_label_studio_is_read(tmp_path):
    write(
        tmp_path / "reviewed.json",
        [
            task(
                annotation(verdict={"choices": ["keep"]}, stars={"rating": 4}),
                annotation(verdict={"choices": ["keep", "rare"]}, note={"text": ["rewritten"]}),
                annotation(verdict={"choices": ["drop"]}),
                annotation(skipped=True, verdict={"choices": ["drop"]}),
            ),
            {"data": {"text": "two"}},
        ],
    )
    one, two = given.read(tmp_path / "reviewed.json")
    assert one.is_answered("verdict", "keep")
    assert one.is_answered("stars", "4")
    assert not one.is_answered("verdict", "drop")
    assert not one.is_answered("verdict", "rare")
    assert not one.is_answered("note", "rewritten")
    assert not two.is_answered("verdict", "keep")
    assert (one.fields, one.contributor) == ({"text": "one"}, "")


def test_a_reviewer_has_one_voice_however_often_it_chose(tmp_path):
    often, once = annotation(verdict={"choices": ["keep"]}), annotation(verdict={"choices": ["drop"]})
    often["result"] *= 5
    write(tmp_path / "reviewed.json", [task(often, once, once)])
    (record,) = given.read(tmp_path / "reviewed.json")
    assert record.is_answered("verdict", "drop")
    assert not record.is_answered("verdict", "keep")


def test_what_reviewers_answered_in_argilla_is_read(tmp_path):
    def answers(*values):
        return {"verdict": [{"value": value, "user_id": "u"} for value in values], "order": [{"value": {"a": 1}}]}

    write(
        tmp_path / "reviewed.json",
        [
            {
                "id": "1",
                "fields": {"text": "one"},
                "metadata": {"contributor": ADA},
                "responses": answers("keep", "no"),
            },
            {"id": "2", "fields": {"text": "two"}, "responses": answers("keep", ["keep", "rare"], "no")},
            {"id": "3", "fields": {"text": "three", "hint": None}, "responses": {}, "suggestions": {"verdict": {}}},
        ],
    )
    read = list(given.read(tmp_path / "reviewed.json"))
    assert [record.is_answered("verdict", "keep") for record in read] == [False, True, False], "a tie is no majority"
    assert [record.contributor for record in read] == [ADA, "", ""]
    assert read[2].fields == {"text": "three"}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    (
        ("a.json", b"{", "a.json is no JSON"),
        ("a.json", b"[" * 100_000, "a.json is no JSON"),
        ("a.json", b"\xff\xfe", "a.json is no JSON"),
        ("a.json", b"{}", "a.json is no list"),
        ("a.json", b"[1]", "record 1: it is no object"),
        ("a.json", b'[{"data": {"text": 1}}]', "record 1: text is no Unicode text"),
        ("a.json", b'[{"data": {"text": "a"}}, {"data": {"text": "\\ud800"}}]', "record 2: text is no Unicode text"),
        ("a.json", b'[{"data": {}, "annotations": {}}]', "annotations is no list"),
        ("a.json", b'[{"data": {}, "annotations": [1]}]', "annotation is no object"),
        ("a.json", b'[{"data": {}, "annotations": [{"result": [{"value": []}]}]}]', "value is no object"),
        ("a.json", b'[{"data": {}, "meta": []}]', "meta is no object"),
        ("a.json", b'[{"fields": {}, "responses": []}]', "responses is no object"),
        ("a.json", b'[{"fields": {}, "responses": {"q": {}}}]', "responses is no list"),
        ("a.json", b'[{"fields": {}, "metadata": {"contributor": "me"}}]', "record 1: "),
        ("a.jsonl", b'{"text": "a"}\n\n{"text"', "line 3 is no JSON"),
        ("a.jsonl", b'{"text": ["a"]}', "record 1: text is no Unicode text"),
        ("a.parquet", b"PAR1 no", "cannot be decoded"),
        ("a.txt", b"", "is none of"),
    ),
)
def test_what_is_no_such_file_is_said(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=says):
        list(given.read(tmp_path / name))


def test_a_column_that_is_no_text_is_said(tmp_path):
    pq.write_table(pa.table({"text": ["a"], "number": [1]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="record 1: number is no Unicode text"):
        list(given.read(tmp_path / "a.parquet"))


def test_json_that_is_too_large_to_be_read_as_a_whole_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(given, "MOST_JSON_BYTES", 10)
    write(tmp_path / "a.json", [{"data": {"text": "one"}}])
    with pytest.raises(ValueError, match="split it"):
        list(given.read(tmp_path / "a.json"))


def test_a_folder_with_two_files_does_not_say_which(tmp_path):
    for name in ("a.json", "b.jsonl"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="has 2 files"):
        given.find(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["data", "fields", "annotations", "result", "value", "choices", "meta", "responses", META, "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@drawn(st.lists(JSON, max_size=3))
def test_whatever_json_says_is_read_or_refused(tmp_path_factory, items):
    place = tmp_path_factory.mktemp("drawn") / "a.json"
    write(place, items)
    try:
        read = list(given.read(place))
    except ValueError:
        return
    assert len(read) == len(items)
    for record in read:
        assert isinstance(record.is_answered("x", "y"), bool)
