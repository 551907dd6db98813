from __future__ import annotations

from dataclasses import replace

import pytest

from bench import threads
from bench.lds.study import Setting
from tests import tiny_model


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    base = tiny_model.make(tmp_path_factory.mktemp("base"))
    return Setting("tiny", contributors=4, records=2, queries=1, epochs=2, layers=2, base=str(base))


@pytest.mark.long
def test_the_same_number_of_threads_gives_the_same_bytes_and_another_nearly_the_same(setting: Setting) -> None:
    one, again, other = (threads.trained(setting, count) for count in (1, 1, 2))
    same = threads.figures(one, again)
    assert same["same_bytes"] == same["rank_correlation_least"] == 1
    assert same["weights_apart_of_their_way"] == same["vectors_apart_most"] == same["int8_entries_that_differ"] == 0
    found = threads.figures(one, other)
    assert found["weights_apart_of_their_way"] < 1e-2
    assert found["vectors_apart_most"] < 1e-1
    assert found["rank_correlation_mean"] > 0.9


def test_what_differs_is_counted(setting: Setting) -> None:
    one = threads.trained(setting, 1)
    found = threads.figures(one, replace(one, theta=one.theta * 1.01, scores=-one.scores))
    assert found["same_bytes"] == 0
    assert found["weights_apart_of_their_way"] > 0
    assert found["scores_apart"] == pytest.approx(2)
    assert found["rank_correlation_mean"] == pytest.approx(-1)
