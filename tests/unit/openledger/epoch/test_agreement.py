"""Whatever is asked, sealed, vetoed and sealed again: what the service settles, the second implementation derives."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from openledger import split
from openledger.receipt import Model
from openledger.split import NAT, Rule
from services.ledger.settle import NothingToSettle
from tests.epoch_world import PAYER, Ledger, failed
from tests.ledger_world import DEVELOPER, EARNERS, a_receipt

MODELS = ("", *(f"adapters/{name}/revisions/" + name * 64 for name in "ab"))
ENDED = {"end_time": "2026-01-02T03:04:06.000000Z"}
RULES = (Rule(), Rule(noise_z_milli=0, cap_bps=3_000), Rule(developer_bps=4_000, noise_z_milli=2_500))
SCORES = st.integers(-NAT, NAT)
LOSSES = st.integers(0, 3 * NAT)
RETRIEVALS = st.builds(
    split.Retrieval, LOSSES, LOSSES, st.dictionaries(st.sampled_from([earner.address for earner in EARNERS]), SCORES)
)


@st.composite
def answers(draw: st.DrawFn):
    people = [earner.address for earner in EARNERS]
    model = draw(st.sampled_from(MODELS))
    scores = {who: draw(SCORES) for who in draw(st.lists(st.sampled_from(people), unique=True))} if model else {}
    evidence = split.Evidence(
        nll_base=draw(st.integers(0, 3 * NAT)) if model else NAT,
        nll_model=NAT,
        scores=scores,
        placebos=tuple(draw(st.lists(st.integers(-NAT // 10, NAT // 10), max_size=2))),
        errors={who: draw(st.integers(0, NAT // 10)) for who in scores},
        trust_bps=draw(st.just(10_000) | st.integers(0, 10_000)),
        retrieval=draw(st.none() | RETRIEVALS),
    )
    fee, rule = draw(st.integers(0, 10**20) | st.integers(0, 9)), draw(st.sampled_from(RULES))
    platform_fee = draw(st.integers(0, fee))
    return a_receipt(
        PAYER,
        "leases/1",
        fee,
        model=Model("base", "b" * 64, model, "d" * 64 if model else ""),
        rule=rule,
        evidence=evidence,
        platform_fee=platform_fee,
        shares=split.split_fee(fee, platform_fee, evidence, rule),
        developer=DEVELOPER.address if model else "",
        **draw(st.sampled_from(({}, ENDED, ENDED | {"published": False}))),
    )


ROUNDS = st.lists(st.tuples(st.lists(answers(), max_size=5), st.booleans()), max_size=4)
"""What is asked, and whether the root is vetoed then."""


@settings(max_examples=40)
@given(ROUNDS)
def test_what_the_service_settles_the_second_implementation_derives(rounds):
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder))
        for receipts, veto in rounds:
            ledger.give(*receipts)
            try:
                epoch = ledger.seal()
            except NothingToSettle:
                continue
            report = ledger.check(ledger.bundle(epoch))
            assert report.ok, failed(report)
            (ledger.veto if veto else ledger.activate)(epoch)
        ledger.database.close()
