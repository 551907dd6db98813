from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.factory import store
from services.factory.filter import FilterError, conditions
from services.factory.licence import Use
from services.factory.model import State

WORDS = {"running": State.TRAINING}


@pytest.fixture
def some(database, job):
    made = (
        replace(job, id="a", state=State.TRAINING),
        replace(job, id="b", state=State.FAILED, reason="NAN_LOSS", adapter="other"),
        replace(job, id="c", use=Use.NON_COMMERCIAL, clone_of="fineTunes/a"),
        replace(job, id="d", create_time=datetime(2027, 1, 1, tzinfo=UTC), spec=replace(job.spec, base="big")),
    )
    for one in made:
        database.write_now(lambda c, j=one: store.add_fine_tune(c, j, "made"))
    return database


@pytest.mark.parametrize(
    ("text", "ids"),
    (
        ("", "dcba"),
        ("   ", "dcba"),
        ('state = "TRAINING"', "a"),
        ("state = FINE_TUNE_STATE_FAILED", "b"),
        ('status = "running"', "a"),
        ('state != "QUEUED"', "ba"),
        ('adapter = "adapters/other"', "b"),
        ("adapter=other", "b"),
        ('base = "tiny" AND state = "QUEUED"', "c"),
        ('use = "non-commercial"', "c"),
        ("use = USE_NON_COMMERCIAL", "c"),
        ('clone_of = "fineTunes/a"', "c"),
        ('reason = "NAN_LOSS"', "b"),
        ('create_time >= "2027-01-01T00:00:00Z"', "d"),
        ('create_time < "2027-01-01T01:00:00+01:00" AND base = tiny', "cba"),
        ('base = "tiny" AND base = "big"', ""),
    ),
)
def test_a_filter_finds_what_it_says(some, job, text, ids):
    found = some.read_now(lambda c: store.page(c, job.owner, None, 10, conditions(text, WORDS)))
    assert "".join(one.id for _, one in found) == ids


@pytest.mark.parametrize(
    ("text", "word"),
    (
        ("colour = red", "there is no field 'colour'"),
        ('state = "SLEEPING"', "none of QUEUED"),
        ("state > QUEUED", "= and != alone"),
        ("use = military", "use"),
        ("create_time > yesterday", "create_time"),
        ("state", "at character 1"),
        ("state = ", "at character 1"),
        ("state = QUEUED AND", "at character 19"),
        ("state = QUEUED OR base = tiny", "AND is expected"),
        ("state = QUEUED base = tiny", "AND is expected"),
        ('state = "QUEUED', "at character 1"),
        ("AND state = QUEUED", "at character 1"),
        ('create_time > "0001-01-01T00:00:00+23:59"', "create_time"),
        ('create_time < "9999-12-31T23:59:59-23:59"', "create_time"),
        ('base = "a\0b"', "NUL"),
        ('adapter = "a\0b"', "NUL"),
        ("x" * 900 + " = 1", "there is no field 'xxx"),
    ),
)
def test_a_filter_that_cannot_be_read_says_where(text, word):
    with pytest.raises(FilterError, match=word):
        conditions(text, WORDS)


@given(st.text(max_size=1000) | st.from_regex(r'create_time > "\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}[+-]\d{2}:\d{2}"'))
def test_no_filter_is_an_error_of_ours(text):
    with contextlib.suppress(FilterError):
        conditions(text, WORDS)
