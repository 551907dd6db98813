"""Answers to divide the fees of: strategies for hypothesis, and evidence by hand."""

from __future__ import annotations

from hypothesis import strategies as st

from openledger.integers import root_mean_square
from openledger.split import DEVELOPER, NAT, STAKERS, Answer, Evidence, Retrieval, Rule, allocate

A, B, C, D = (f"0x{letter * 40}" for letter in "abcd")
ADDRESSES = st.integers(0, 2**160 - 1).map(lambda number: f"0x{number:040x}")
SCORES = st.integers(-3 * NAT, 3 * NAT)
LOSSES = st.integers(0, 12 * NAT)
RETRIEVALS = st.builds(Retrieval, LOSSES, LOSSES, st.dictionaries(ADDRESSES, SCORES, max_size=16))


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    scores = draw(st.dictionaries(ADDRESSES, SCORES, max_size=30))
    noise = st.integers(-NAT // 10, NAT // 10)
    return Evidence(
        nll_base=draw(st.integers(0, 12 * NAT)),
        nll_model=draw(st.integers(0, 12 * NAT)),
        scores=scores,
        placebos=tuple(draw(st.lists(noise, max_size=4))),
        errors={who: draw(st.integers(0, NAT // 10) | st.integers(0, 8 * NAT)) for who in scores},
        trust_bps=draw(st.just(10_000) | st.integers(0, 10_000)),
        retrieval=draw(st.none() | RETRIEVALS),
    )


EVIDENCE = evidences()
RULES = st.builds(
    Rule,
    developer_bps=st.integers(0, 5_000),
    stakers_bps=st.integers(0, 5_000),
    noise_z_milli=st.integers(0, 5_000),
    cap_bps=st.integers(0, 10_000),
)
ALL_TO_POOL = Rule(developer_bps=0, stakers_bps=0, noise_z_milli=0)


@st.composite
def fees(draw: st.DrawFn) -> tuple[int, int]:
    fee = draw(st.integers(0, 2**128 - 1))
    return fee, draw(st.integers(0, fee))


def gained(scores: dict[str, int], gain: int = NAT, placebos: tuple[int, ...] = ()) -> Evidence:
    """An answer that the tuned model finds `gain` likelier than the base does."""
    return measured(scores, placebos, 3 * NAT + gain, 3 * NAT)


def measured(
    scores: dict[str, int], placebos: tuple[int, ...] = (), nll_base: int = 4 * NAT, nll_model: int = 3 * NAT
) -> Evidence:
    """Evidence of contributors whose scores have all one standard error: the placebos' root mean square."""
    return Evidence(nll_base, nll_model, scores, placebos, dict.fromkeys(scores, root_mean_square(placebos)))


ANSWERS = st.lists(st.builds(Answer, st.integers(0, 2**100), EVIDENCE), max_size=8)


def allocate_pool(fee: int, rule: Rule) -> int:
    weights = {DEVELOPER: rule.developer_bps, STAKERS: rule.stakers_bps}
    weights["pool"] = 10_000 - sum(weights.values())
    return allocate(fee, weights).get("pool", 0)
