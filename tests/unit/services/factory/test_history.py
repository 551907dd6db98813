from __future__ import annotations

import json

import pytest

from services.factory import write
from services.factory.history import FILE, VERSION, History, read

WRITTEN = {"version": VERSION, "losses": [3.0, 2.5, 2.0], "evaluations": [[2, 2.6], [3, 2.1]]}


def test_it_is_what_training_writes():
    assert write.TRAINING_VERSION == VERSION
    assert FILE in write.FILES


def test_losses_and_measurements_come_back(tmp_path):
    (tmp_path / FILE).write_text(json.dumps(WRITTEN))
    past = read(tmp_path)
    assert past == History((3.0, 2.5, 2.0), ((2, 2.6), (3, 2.1)))
    assert [past.train_loss(step) for step in (0, 1, 3, 4)] == [None, 3.0, 2.0, None]


def test_a_measurement_that_is_no_number_is_passed_over(tmp_path):
    (tmp_path / FILE).write_text(json.dumps(WRITTEN | {"evaluations": [[1, float("nan")], [2, 1.0]]}))
    assert read(tmp_path).evaluations == ((2, 1.0),)


def test_a_step_without_a_record_has_no_loss(tmp_path):
    (tmp_path / FILE).write_text(json.dumps(WRITTEN | {"losses": [3.0, None, 2.0]}))
    assert [read(tmp_path).train_loss(step) for step in (1, 2, 3)] == [3.0, None, 2.0]


@pytest.mark.parametrize(
    "text", ("", "[]", "{}", json.dumps(WRITTEN | {"version": "another"}), json.dumps(WRITTEN | {"losses": ["x"]}))
)
def test_what_cannot_be_read_is_no_history(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    assert read(tmp_path) is None


def test_a_folder_without_one_has_none(tmp_path):
    assert read(tmp_path / "nowhere") is None
