from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime

from services.factory.compare import MAX_POINTS, Point, compare, curve
from services.factory.licence import Use
from services.factory.model import Checkpoint, TrainingProgress
from services.factory.run import SnapshotPin


def progress(step, loss):
    return TrainingProgress(step, 100_000, loss)


def checkpoint(step, valid):
    return Checkpoint(step, datetime.now(UTC), 1.5, valid, 0.5, None)


def test_only_what_differs_is_shown_in_order_of_its_name(job):
    other = replace(
        job,
        id="two",
        spec=replace(job.spec, rank=32, targets=("q_proj",)),
        use=Use.NON_COMMERCIAL,
        snapshots=(SnapshotPin("datanets/letters/snapshots/2", "cc" * 32),),
        threads=4,
    )
    comparison = compare([job, other], [(), ()])
    assert [d.field for d in comparison.differences] == [
        "snapshots", "threads", "training.rank", "training.targets", "use",
    ]  # fmt: skip
    by_field = {d.field: [json.loads(value) for value in d.values] for d in comparison.differences}
    assert by_field["training.rank"] == [4, 32]
    assert by_field["training.targets"] == ["all-linear", ["q_proj"]]


def test_the_same_runs_do_not_differ_whoever_asked_when(job):
    again = replace(job, id="two", create_time=datetime.now(UTC), adapter="other")
    assert compare([job, again], [(), ()]).differences == ()


def test_a_curve_has_each_step_and_what_was_measured_there():
    points = curve([progress(step, 1 / step) for step in range(1, 5)], [checkpoint(3, 0.7)])
    assert points == (Point(1, 1.0), Point(2, 0.5), Point(3, 1.5, 0.7, 0.5), Point(4, 0.25))


def test_a_long_curve_is_thinned_out_evenly_with_both_ends_and_every_measurement():
    told = [progress(step, float(step)) for step in range(1, 12_001)]
    points = curve(told, [checkpoint(step, 0.5) for step in (777, 7777)])
    assert MAX_POINTS <= len(points) <= MAX_POINTS + 2
    assert (points[0].step, points[-1].step) == (1, 12_000)
    assert {777, 7777} <= {point.step for point in points if point.valid_loss is not None}
    gaps = [b.step - a.step for a, b in itertools.pairwise(points)]
    assert max(gaps) <= 26
