"""Whatever happens in whatever order, no unit drifts: random stories told to the real store."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests import postgres
from tests.books_stores import PostgresStore, Store
from tests.books_stories import Stories

STEPS = 25
STEPS_OF_MANY = 15
"""Where there are ten thousand stories: what many of them find they find early."""
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


class OnSqlite(Stories):
    store = staticmethod(cache(Store))


def tell(stories: type[Stories], count: int, steps: int = STEPS) -> None:
    rules = settings(max_examples=count, stateful_step_count=steps, suppress_health_check=SLOW)
    run_state_machine_as_test(stories, settings=rules)


@pytest.mark.slow
def test_no_unit_drifts() -> None:
    tell(OnSqlite, 200)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_no_unit_drifts_in_ten_thousand_stories() -> None:
    tell(OnSqlite, 10_000, STEPS_OF_MANY)


@pytest.mark.long
@pytest.mark.needs("postgresql")
@pytest.mark.timeout(3600)
def test_no_unit_drifts_in_a_thousand_stories_on_postgresql(postgres_cluster: str) -> None:
    with postgres.fresh_database(postgres_cluster) as url:
        store = PostgresStore(url)

        class OnPostgresql(Stories):
            pass

        OnPostgresql.store = staticmethod(lambda: store)
        tell(OnPostgresql, 1_000, STEPS_OF_MANY)
        store.engine.dispose()
