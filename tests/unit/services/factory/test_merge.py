from __future__ import annotations

import pytest

from openledger.artifacts import ArtifactStore
from services.factory.lines import line, parse
from services.factory.merge import merge
from services.factory.model import JobFailed


@pytest.fixture
def kept(tmp_path):
    return ArtifactStore(tmp_path / "records")


def file(kept, *records):
    """Keeps a file of records, each `name` or `name:text`; returns its digest."""
    parts = (record.partition(":") for record in records)
    return kept.put(b"".join(line(name, "0x" + "0a" * 20, {"text": text or name}) for name, _, text in parts))


def test_one_file_stays_what_it_is(kept):
    digest = file(kept, "a", "b")
    assert merge(kept, [digest]) == digest
    assert merge(kept, [digest, digest]) == digest


def test_a_record_of_two_snapshots_counts_once(kept):
    merged = merge(kept, [file(kept, "a", "b"), file(kept, "b", "c"), file(kept, "a", "d")])
    assert [record.name for record in parse(kept.get(merged))] == ["a", "b", "c", "d"]


def test_two_records_under_one_name_are_refused(kept):
    with pytest.raises(JobFailed) as failed:
        merge(kept, [file(kept, "a", "b:one text"), file(kept, "b:another text")])
    assert failed.value.reason == "RECORDS_DISAGREE"
    assert "b is not the same" in failed.value.message
    assert not list(kept.root.glob(".*"))
