from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from openledger.factory.v1 import factory_pb2 as pb
from services.factory import translate
from services.factory.model import Event, FineTune, Metrics, State, TrainingProgress

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_word_of_openais(job, state):
    shown = translate.fine_tune_to(replace(job, state=state))
    assert shown.status in {"queued", "validating_files", "running", "succeeded", "failed", "cancelled"}
    assert pb.FineTuneState.Name(shown.state) == f"FINE_TUNE_STATE_{state}"


def test_a_fine_tune_shows_what_it_is_pinned_to(job: FineTune):
    shown = translate.fine_tune_to(job)
    assert [(pin.name, pin.root) for pin in shown.snapshot_pins] == [(job.snapshots[0].name, "aa" * 32)]
    assert list(shown.spec.snapshots) == [job.snapshots[0].name]
    assert (shown.base_sha256, shown.licence, shown.threads) == ("bb" * 32, "CC-BY-4.0", 1)


@pytest.mark.parametrize(
    ("progress", "state", "kind", "level"),
    (
        (None, State.QUEUED, "message", "info"),
        (TrainingProgress(0, 9), State.TRAINING, "message", "info"),
        (TrainingProgress(1, 9, 2.5), State.TRAINING, "metrics", "info"),
        (None, State.FAILED, "message", "error"),
        (None, State.CANCELLED, "message", "warn"),
    ),
)
def test_events_have_openais_types_and_levels(progress, state, kind, level):
    shown = translate.event_to(Event(1, NOW, state, "said", progress))
    assert (shown.type, shown.level) == (kind, level)


def test_what_was_not_measured_is_not_shown_as_zero():
    shown = translate.event_to(Event(1, NOW, State.TRAINING, "said", TrainingProgress(3, 9, 2.5))).progress
    assert not shown.HasField("valid_loss")
    metrics = Metrics(9, 1, {}, 2, 2.0, 1.0, 100, 1.0)
    assert not translate.metrics_to(metrics).HasField("accuracy_before")
    assert translate.metrics_to(replace(metrics, accuracy_before=0.0)).HasField("accuracy_before")
