from __future__ import annotations

import json

import pytest

from openledger.cli.finetune import show
from openledger.factory.v1 import factory_pb2 as pb


@pytest.mark.parametrize(
    ("values", "shown"),
    (([], ""), ([1.0], "▁"), ([2.0, 2.0], "▁▁"), ([1.0, 2.0], "▁█"), ([3.0, 2.0, 1.0], "█▅▁")),
)
def test_a_curve_in_one_line(values: list[float], shown: str) -> None:
    assert show.spark(values) in {shown, shown.replace("▅", "▄")}


def test_a_long_curve_fits() -> None:
    assert len(show.spark([float(i) for i in range(1000)], width=24)) == 24


@pytest.mark.parametrize(("seconds", "words"), ((5, "5 s"), (89, "89 s"), (600, "10 min"), (7200, "2.0 h")))
def test_times_as_people_say_them(seconds: float, words: str) -> None:
    assert show.duration(seconds) == words


def test_those_with_most_records_come_first_and_the_rest_is_counted() -> None:
    shown = show.people({f"0x{i:040x}": i for i in range(1, 15)}, 105).splitlines()
    assert shown[0].endswith("14 (13%)")
    assert shown[-1] == "and 4 more"
    assert len(shown) == 11
    assert show.people({}, 0) == "nobody"


def test_an_estimate_tells_price_licence_and_cautions(capsys: pytest.CaptureFixture[str]) -> None:
    told = pb.FineTuneEstimate(
        records=10,
        train_records=8,
        held_out_records=1,
        dropped_records=[pb.DroppedRecords(code="TOO_LONG", records=1, reason="it has [red]999 tokens")],
        price="2500000000000000000",
        licence="CC-BY-4.0",
        cautions=[pb.Caution(code="FEW_RECORDS", message="8 records are few")],
    )
    show.estimate(told)
    text = capsys.readouterr().out
    for words in ("2.5 OPEN", "CC-BY-4.0", "8 records are few", "1 left out, TOO_LONG: it has [red]999 tokens"):
        assert words in text


def test_trainings_again_are_told_before_with_their_time_and_afterwards_with_what_they_found(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show.estimate(pb.FineTuneEstimate(seconds=5400, counterfactual_tokens=9000, counterfactual_seconds=3000, price="0"))
    show.fine_tune(pb.FineTune(name="fineTunes/x", metrics=pb.FineTuneMetrics(audit="the paid scores agree well")))
    text = capsys.readouterr().out
    for words in ("1.5 h, 50 min of it for that check", "9,000 to check", "the paid scores agree well"):
        assert words in text


def test_further_parts_are_told_with_their_time(capsys: pytest.CaptureFixture[str]) -> None:
    show.estimate(pb.FineTuneEstimate(seconds=5400, parts=4, parts_seconds=3000, price="0"))
    text = capsys.readouterr().out
    for words in ("4 times, to follow all contributors", "1.5 h, 50 min of it to follow all contributors"):
        assert words in text


def test_an_evaluation_shows_verdict_warnings_and_samples(capsys: pytest.CaptureFixture[str]) -> None:
    sample = {"record": "r", "prompt": "what?", "base": "hm", "tuned": "this", "reference": "that"}
    report = {"judgement": {"words": "no clear gain"}, "warnings": ["it recites"], "samples": [sample]}
    show.evaluation(pb.FineTuneEvaluation(report=json.dumps(report)))
    text = capsys.readouterr().out
    for words in ("no clear gain", "! it recites", "what?", "base       hm", "tuned      this", "reference  that"):
        assert words in text


def test_markup_in_what_others_wrote_stays_text(capsys: pytest.CaptureFixture[str]) -> None:
    show.fine_tune(pb.FineTune(name="fineTunes/x", status="failed", reason="UNTRAINABLE", message="[bold]no[/bold]"))
    assert "[bold]no[/bold]" in capsys.readouterr().out
