"""What is said of a receipt is what stands in it."""

from __future__ import annotations

import pytest

from openledger import split
from openledger.money import format_open
from openledger.receipt import Model, Receipt
from openledger.split import NAT, Evidence, Rule
from services.attribution import words

ANNE, BERT, CAROL = (f"0x{n}{n}" + "00" * 19 for n in "abc")
FEE, PLATFORM_FEE = 10**18, 10**16


def receipt(rule=Rule(noise_z_milli=2_000), method="shadow-trajectories.v1", **evidence):  # noqa: B008 - frozen
    measured = Evidence(
        **{
            "nll_base": 2 * NAT,
            "nll_model": NAT,
            "scores": {ANNE: 3 * NAT, BERT: NAT, CAROL: -NAT},
            "placebos": (NAT // 10, -NAT // 10),
            "errors": {ANNE: NAT // 10, BERT: NAT // 5, CAROL: NAT // 10},
        }
        | evidence
    )
    shares = split.split_fee(FEE, PLATFORM_FEE, measured, rule)
    return Receipt("responses/r1", "ab" * 32, "accounts/0x" + "0c" * 20, "leases/1", Model("b", "cd" * 32, "", ""),
                   method, rule, measured, FEE, PLATFORM_FEE, shares, "0x" + "0d" * 20, "0x" + "0f" * 20)  # fmt: skip


def by_key(made):
    return {share.key: share for share in words.shares(made)}


def test_every_share_has_its_reason_and_the_largest_comes_first():
    made = receipt()
    told = words.shares(made)
    assert {share.key: share.amount for share in told} == made.shares
    assert [share.amount for share in told] == sorted(made.shares.values(), reverse=True)
    assert all(share.words for share in told)
    assert CAROL not in by_key(made), "who is not paid is not named"


def test_a_contributors_score_is_told_with_its_noise():
    anne = by_key(receipt())[ANNE]
    assert (anne.score, anne.errors) == (3.0, 30.0)
    for said in ("3 nat less probable", "75.0% of what all contributors' records did", "30.0 of its standard errors"):
        assert said in anne.words
    assert "20 % of the data's part" not in anne.words
    assert "at most 20 % of the data's part" in by_key(receipt(Rule(noise_z_milli=2_000, cap_bps=2000)))[ANNE].words


def test_the_base_models_part_is_told_as_it_was_measured():
    fee, base, errors, noise, provisional = words.summary(receipt())
    assert fee.startswith("The answer cost 1 OPEN. Of it 0.01 is the platform's")
    assert "20 % is the developer's and 10 % the stakers'. 0.693 OPEN is left" in fee
    assert "36.79 % as probable" in base, "exp(-1)"
    assert "2 placebos" in noise
    assert "0.1 nat per token" in noise
    assert "are together 10% of the positive scores, and 2 times that is taken off" in errors
    assert "as if it were the only one" in provisional


@pytest.mark.parametrize(
    ("changes", "said"),
    (
        ({"nll_base": NAT}, "the data changed nothing for the better"),
        ({"nll_base": NAT // 2}, "the data changed nothing for the better"),
        ({"method": "base.v1", "scores": {}, "errors": {}, "placebos": (), "nll_base": NAT}, "answered alone"),
    ),
)
def test_a_base_model_that_takes_all_is_told_why(changes, said):
    made = receipt(**changes)
    assert said in words.summary(made)[1]
    assert not by_key(made).keys() & {ANNE, BERT, CAROL, split.UNATTRIBUTED}


def test_an_error_that_is_not_known_is_not_told():
    made = receipt(placebos=(), errors={ANNE: 0, BERT: 0, CAROL: 0})
    assert not any("placebo" in said for said in words.summary(made))
    anne = by_key(made)[ANNE]
    assert anne.errors is None
    assert "standard errors" not in anne.words


def test_scores_that_are_believed_in_part_are_told():
    assert "only 25 % of the data's part is divided" in words.summary(receipt(trust_bps=2_500))[4]


# --- records before the question --------------------------------------------------------------------------------------

READ = split.Retrieval(3 * NAT, 2 * NAT, {ANNE: NAT // 2, CAROL: -NAT})


def test_what_records_did_is_told_apart_from_what_training_did():
    told = by_key(receipt(retrieval=READ))
    anne = told[f"retrieval:{ANNE}"]
    assert (anne.score, anne.errors) == (0.5, None)
    assert "without its records before the question a token of the answer would be 0.5 nat less probable" in anne.words
    assert told[ANNE].score == 3.0
    assert "in place of each other" in told["retrieval:unattributed"].words
    assert f"retrieval:{CAROL}" not in told


def test_the_division_among_base_records_and_training_is_told():
    made = receipt(retrieval=READ)
    _, measured, divided, *_, provisional = words.summary(made)
    assert "Records stood before the question, and those of 1 contributor are missed" in measured
    assert "final at once" in measured
    assert "13.53 % as probable" in divided, "exp(-2)"
    records = sum(amount for key, amount in made.shares.items() if key.startswith("retrieval:"))
    assert f"{format_open(records)} OPEN is the records'" in divided
    assert f"{format_open(made.fee - PLATFORM_FEE)} OPEN" not in divided
    assert "provisional" in provisional


def test_records_by_which_nothing_was_gained_leave_all_to_the_base_model():
    made = receipt(retrieval=split.Retrieval(NAT, 2 * NAT, {ANNE: NAT}))
    assert "nothing was gained" in " ".join(words.summary(made))
    assert made.shares.keys() == {"base", "platform", "developer", "stakers"}


def test_the_base_model_alone_is_told_of_with_records_too():
    alone = split.Retrieval(2 * NAT, 2 * NAT, {ANNE: NAT})
    made = receipt(method="base.v1", scores={}, errors={}, placebos=(), nll_base=NAT, retrieval=alone)
    records = format_open(made.shares[f"retrieval:{ANNE}"])
    assert records.startswith("0.43805")
    assert f"{records} OPEN is the records' and 0 OPEN the training data's" in " ".join(words.summary(made))
    assert made.shares.keys() == {"base", "platform", "developer", "stakers", f"retrieval:{ANNE}"}
