from __future__ import annotations

import asyncio

import pytest

from services.factory import event_log, store, store_events
from services.factory.bell import Bell
from services.factory.event_log import EventLog, interval
from services.factory.model import State


@pytest.fixture
def log(database, job):
    database.write_now(lambda c: store.add_fine_tune(c, job, "waiting"))
    database.write_now(lambda c: store.move(c, job.id, State.TRAINING, "starts"))
    return EventLog(database, Bell(), job.id)


def report(step, phase="training"):
    return {
        "phase": phase,
        "step": step,
        "steps": 100,
        "loss": 1.0 / step if step else None,
        "tokens_per_second": None,
        "seconds_left": None,
    }


def written(database, job):
    return database.read_now(lambda c: store_events.events(c, job.id, 2, 1000))[1]


async def test_the_newest_report_of_a_phase_stands_for_those_before(log, database, job):
    for step in range(5):
        log.put(report(step, "preparing"))
    for step in range(1, 8):
        log.put(report(step))
    assert await log.flush() == 4
    events = written(database, job)
    assert [(e.sequence, e.progress.step) for e in events] == [(3, 4), (4, 7)]
    assert events[0].message == event_log.PHASES["preparing"]
    assert events[1].progress.loss == pytest.approx(1 / 7)


async def test_reports_without_a_plan_show_no_progress(log, database, job):
    log.put({"phase": "base", "step": 0, "steps": 0})
    await log.flush()
    assert written(database, job)[0].progress is None


async def test_what_comes_fast_is_written_a_few_times_a_second(log, database, job):
    running = asyncio.create_task(log.run())
    for step in range(1, 60):
        log.put(report(step))
        await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert 1 <= len(written(database, job)) <= 6


async def test_nothing_is_written_of_what_is_not_training_any_more(log, database, job):
    database.write_now(lambda c: store.move(c, job.id, State.CANCELLED, "cancelled"))
    log.put(report(1))
    await asyncio.wait_for(log.run(), 5)
    assert [e.state for e in written(database, job)] == [State.CANCELLED]


def test_the_longer_it_goes_on_the_rarer_the_events():
    assert interval(1) == 0.25
    assert interval(1000) == 0.5
    day, sequence, elapsed = 24 * 3600.0, 0, 0.0
    while elapsed < day:
        elapsed += interval(sequence)
        sequence += 1
    assert sequence < 9000


async def test_a_measurement_of_held_out_records_is_told_and_kept_as_a_checkpoint(log, database, job):
    for step in range(1, 7):
        measured = {"valid_loss": 2.0 / step, "valid_mean_token_accuracy": 0.5} if step % 3 == 0 else {}
        log.put(report(step) | {"tokens": 10 * step} | measured)
    await log.flush()
    assert [e.progress.valid_loss for e in written(database, job)] == [pytest.approx(2 / 3), pytest.approx(1 / 3)]
    log.put(report(6) | {"valid_loss": 0.25})
    await log.flush()
    found = database.read_now(lambda c: store_events.checkpoints(c, job.id, None, 10))
    assert [(step, c.valid_loss, c.trained_tokens) for step, c in found] == [(6, 0.25, None), (3, 2 / 3, 30)]
    assert database.read_now(lambda c: store.find(c, job.id)).trained_tokens == 60


async def test_what_is_left_gives_the_time_of_its_end(log, database, job):
    log.put(report(1) | {"seconds_left": 60.0, "something": "new"})
    await log.flush()
    told = database.read_now(lambda c: store.find(c, job.id))
    assert 0 < (told.estimated_finish - told.start_time).total_seconds() < 90
    database.write_now(lambda c: store.move(c, job.id, State.FAILED, "over"))
    assert database.read_now(lambda c: store.find(c, job.id)).estimated_finish is None
