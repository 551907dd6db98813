"""What an answer's evidence is, and how far two machines' may lie apart."""

from __future__ import annotations

import torch

from openledger import evidence
from openledger.evidence import Tolerance
from openledger.influence.gradient import Scorer
from openledger.split import NAT


def test_one_and_two_threads_agree_far_within_the_tolerance(published, signed):
    trace, threads = published.trace(), torch.get_num_threads()
    tight = Tolerance(score_millionths=250, nll=NAT // 40_000)
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            assert evidence.differences(published.receipt(trace).evidence, signed.evidence, tight) == []
    finally:
        torch.set_num_threads(threads)


def test_the_loss_under_the_base_is_the_same_with_and_without_an_adapter(published, signed):
    alone = Scorer(published.base).base_loss(published.prompt, published.completion)
    assert alone == signed.evidence.nll_base
