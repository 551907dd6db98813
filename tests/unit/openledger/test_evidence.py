"""What an answer's evidence is, and how far two machines' may lie apart."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import torch

from openledger import evidence
from openledger.evidence import Tolerance
from openledger.influence.gradient import Scorer
from openledger.receipt import paid_otherwise
from openledger.split import NAT, Evidence

TIGHT = Tolerance(score_millionths=250, nll=NAT // 40_000)


@contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_one_and_two_threads_agree_far_within_the_tolerance(published, signed):
    for count in (1, 2):
        with threads(count):
            measured = published.receipt(published.trace()).evidence
        assert evidence.differences(measured, signed.evidence, TIGHT) == []


def test_receipts_of_one_and_two_threads_are_within_the_tolerance_of_each_other(published):
    """Answers of all lengths, the longest as long as makes products worth dividing among threads."""
    tokens = [*published.prompt, *published.completion]
    for number in range(8):
        turned = tuple(tokens[(k * (number + 2) + number) % len(tokens)] for k in range(6 + 50 * number))
        trace = published.trace(response=f"responses/r{number}", completion_token_ids=turned)
        found = []
        for count in (1, 2):
            with threads(count):
                found.append(published.receipt(trace))
        one, other = found
        assert evidence.differences(one.evidence, other.evidence, TIGHT) == []
        assert paid_otherwise(one, other.evidence) * 1_000 < one.fee
        assert any(one.evidence.scores.values())


def test_the_loss_under_the_base_is_the_same_with_and_without_an_adapter(published, signed):
    alone = Scorer(published.base).base_loss(published.prompt, published.completion)
    assert alone == signed.evidence.nll_base


def test_a_long_placebo_widens_nothing_that_contributors_are_paid_by():
    """One of 10,000 nat, beside scores of a nat that are made up."""
    people = ("0x" + "1" * 40, "0x" + "2" * 40)
    true = Evidence(NAT, NAT // 2, dict.fromkeys(people, NAT), (NAT // 10, 10_000 * NAT), dict.fromkeys(people, NAT))
    assert evidence.differences(true, true, Tolerance()) == []
    made_up = replace(true, scores={people[0]: 5 * NAT, people[1]: -NAT})
    assert len(evidence.differences(true, made_up, Tolerance())) == 2
    rounded = replace(true, placebos=(NAT // 10 + NAT, 10_001 * NAT))
    assert evidence.differences(true, rounded, Tolerance()) == [], "of their own they may be as far off as before"
    other = replace(true, placebos=(NAT // 10, 10_020 * NAT))
    assert len(evidence.differences(true, other, Tolerance())) == 1
