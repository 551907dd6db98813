"""Records before a question: a receipt of such an answer holds, and who is credited for what cannot be changed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from openledger import canonical
from openledger.base_tokenizer import encoder
from openledger.context import Context, Placed
from openledger.receipt import Receipt, sign
from openledger.split import NAT
from openledger.trace import Trace
from tests.context_world import ANN, BOB, CID, TEXTS, Snapshot, placed
from tests.receipt_world import CHECKS, KEY, World, failed, resplit

HERBS = Snapshot.of([*TEXTS, (CID, TEXTS[0][1].replace("first drawn", "earliest described"))])
LEAVES = (1, 4, 0, 2)
"""Bob's, Cid's copy of Ann's, Ann's, and Cid's own."""


def asked(world: World, *leaves: int, snapshot: Snapshot = HERBS, **changes: object) -> Trace:
    encode = encoder(world.base)
    context, prompt = placed([(snapshot, leaf) for leaf in leaves], encode, world.prompt[:3], world.prompt[3:])
    return world.trace(prompt_token_ids=prompt, context=context, **changes)


@pytest.fixture(scope="module")
def trace(published) -> Trace:
    return asked(published, *LEAVES)


@pytest.fixture(scope="module")
def receipt(published, trace) -> Receipt:
    return published.receipt(trace)


def test_a_true_receipt_with_records_holds(published, receipt):
    checks = published.check(sign(receipt, KEY))
    assert failed(checks) == {}
    assert list(checks) == [*CHECKS[:-1], "records", CHECKS[-1]]
    assert "the 4 records before the question are what their contributors gave" in checks["records"][1]
    assert f"datanets/herbs/snapshots/3 with root {HERBS.root.hex()}" in checks["records"][1]
    assert "the records of 3 contributors are missed" in checks["measurement"][1]
    assert "every unit would go where it went" in checks["measurement"][1]


def test_scores_are_the_losses_without_each_contributors_records(published, receipt, trace):
    found, context, prompt = receipt.evidence.retrieval, trace.context, trace.prompt_token_ids
    assert found.scores.keys() == {ANN, BOB, CID}
    for who in found.scores:
        without = published.receipt(published.trace(prompt_token_ids=context.without(prompt, {who}))).evidence
        assert abs(without.nll_model - receipt.evidence.nll_model - found.scores[who]) < NAT // 100_000
    bare = published.receipt(published.trace()).evidence
    assert abs(bare.nll_model - found.nll_model) < NAT // 100_000
    assert bare.nll_base == found.nll_base


def test_a_record_alone_is_missed_by_all_that_records_did(published):
    alone = published.receipt(asked(published, 0)).evidence
    assert alone.retrieval.scores == {ANN: alone.retrieval.nll_model - alone.nll_model}


def test_an_answer_of_the_base_model_alone_to_a_question_with_records_holds(published):
    receipt = published.receipt(asked(published, *LEAVES, adapter=""))
    assert failed(published.check(sign(receipt, KEY))) == {}
    assert receipt.evidence.retrieval.nll_base == receipt.evidence.retrieval.nll_model
    assert not any(key.startswith("0x") for key in receipt.shares)


@pytest.mark.parametrize("what", ("nll_base", "nll_model", "score"))
def test_a_changed_measurement_of_records_is_found(published, receipt, what):
    told = receipt.evidence.retrieval
    scores = told.scores | ({BOB: told.scores[BOB] + NAT // 1_000} if what == "score" else {})
    forged = replace(told, scores=scores) if what == "score" else replace(told, **{what: getattr(told, what) + NAT})
    found = failed(published.check(resplit(receipt, evidence=replace(receipt.evidence, retrieval=forged))))
    assert found.keys() == {"measurement"}
    assert "computed again it is" in found["measurement"]


def test_records_are_credited_to_nobody_else(published, receipt):
    told = receipt.evidence.retrieval
    forged = replace(told, scores={PAYER if who == BOB else who: score for who, score in told.scores.items()})
    found = failed(published.check(resplit(receipt, evidence=replace(receipt.evidence, retrieval=forged))))
    assert "other contributors" in found["measurement"]


def test_whose_records_are_not_missed_need_not_be_named_and_whose_are_must_be(published, receipt):
    told = receipt.evidence.retrieval
    for who, score in told.scores.items():
        without = replace(told, scores={each: missed for each, missed in told.scores.items() if each != who})
        found = failed(published.check(resplit(receipt, evidence=replace(receipt.evidence, retrieval=without))))
        if score > NAT // 10_000:
            assert f"what {who}'s records are missed by" in found["measurement"]
        else:
            assert found == {}


PAYER = "0x" + "c0" * 20


def republished(world: World, receipt: Receipt, trace: Trace) -> Receipt:
    """A forger's: with another trace, and signed with the right key."""
    return resplit(receipt, trace_sha256=world.store.put(trace.dumps()))


def test_a_receipt_says_what_records_did_where_there_are_any_and_nowhere_else(published, receipt, signed):
    silent = resplit(receipt, evidence=replace(receipt.evidence, retrieval=None))
    assert "agreement" in failed(published.check(silent))
    assert "measurement" in failed(published.check(silent))
    invented = replace(signed.evidence, retrieval=receipt.evidence.retrieval)
    assert "agreement" in failed(published.check(resplit(signed, evidence=invented)))


def test_another_contributor_in_the_trace_is_found(published, receipt, trace):
    first = trace.context.records[0]
    stolen = Placed(replace(first.record, contributor=PAYER), first.root, first.tokens)
    forged = replace(trace, context=replace(trace.context, records=(stolen, *trace.context.records[1:])))
    assert (
        "it is not what accounts/0xc0c0" in failed(published.check(republished(published, receipt, forged)))["records"]
    )


def test_records_that_the_prompt_does_not_say_are_found(published, receipt, trace):
    place = trace.context.start + trace.context.opening
    prompt = (*trace.prompt_token_ids[:place], 99, *trace.prompt_token_ids[place + 1 :])
    found = failed(published.check(republished(published, receipt, replace(trace, prompt_token_ids=prompt))))
    assert "do not say" in found["records"]


def test_a_snapshot_that_the_model_was_trained_on_has_the_manifests_root(published):
    name = published.lineage.snapshots[0].name
    invented = published.receipt(asked(published, 0, snapshot=replace(HERBS, name=name)))
    assert "in the model's manifest" in failed(published.check(sign(invented, KEY)))["records"]


def test_every_byte_of_what_the_trace_says_of_records_counts(published, receipt, trace):
    """One in seven bytes of the records' document, changed by a forger who publishes it under its new name."""
    data = trace.dumps()
    begin, end = data.index(b'"context":'), data.index(b',"end_time"')
    assert json.loads(b"{" + data[begin:end] + b"}") == {"context": trace.context.to_json()}
    name = HERBS.name.encode()  # is not proven by the records, but by whoever looks its root up
    names = {place for at in range(end) if data[at:].startswith(name) for place in range(at, at + len(name))}
    for place in sorted({*range(begin, end, 7)} - names):
        forged = bytearray(data)
        forged[place] ^= 1
        assert not proven(bytes(forged), encoder(published.base)), data[place - 20 : place + 20]


def proven(data: bytes, encode: Any) -> bool:
    """Whether a trace can be read and its records hold, before any model is asked."""
    from openledger.trace import parse

    try:
        found = parse(data)
        assert isinstance(found.context, Context)
        found.context.check(found.prompt_token_ids)
        found.context.check_tokens(found.prompt_token_ids, encode)
    except ValueError:
        return False
    assert canonical.loads(data)
    return True
