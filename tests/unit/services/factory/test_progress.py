from __future__ import annotations

from services.factory.progress import Progress, Reporter


def reporter(seen: list[Progress]) -> Reporter:
    return Reporter(100.0, 10, seen.append, lambda: False)


def test_steps_and_tokens_of_before_a_crash_stay_counted_and_say_nothing_of_speed_now() -> None:
    seen: list[Progress] = []
    told = reporter(seen)
    told.resumed(4, 40.0, 4000)
    told.training_starts()
    told.report("preparing")
    assert (seen[-1].step, seen[-1].tokens, seen[-1].tokens_per_second) == (4, 4000, None)
    told.trained(1.5, 10, 10.0)
    assert (seen[-1].step, seen[-1].tokens, seen[-1].loss) == (5, 4010, 1.5)
    assert seen[-1].tokens_per_second is not None
