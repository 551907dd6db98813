from __future__ import annotations

import pytest

from services.datanet import define
from services.datanet.model import Definition, Duplicates, Kind, PersonalData, Policy
from services.datanet.offers import check_offered
from services.kit.errors import Fault

ASKED = {
    "kind": {"kind": Kind.IMAGE},
    "policy.languages": {"policy": Policy(languages=("de",))},
    "policy.personal_data": {"policy": Policy(personal_data=PersonalData.REFUSE)},
    "policy.quality": {"policy": Policy(quality=True)},
    "policy.duplicates": {"policy": Policy(duplicates=Duplicates.CREDIT)},
    "policy.reward_cut_bps": {"policy": Policy(reward_cut_bps=1)},
    "policy.reviews": {"policy": Policy(reviews=1)},
    "policy.reviewers": {"policy": Policy(reviewers=1)},
    "policy.gold_share_bps": {"policy": Policy(gold_share_bps=1)},
    "policy.review_days": {"policy": Policy(review_days=1)},
}


@pytest.mark.parametrize("field", ASKED)
def test_what_nothing_obeys_is_refused_by_name_and_what_something_obeys_is_not(field):
    definition = Definition("Terms", "MIT", **ASKED[field])
    with pytest.raises(Fault) as caught:
        check_offered(definition, ())
    assert (caught.value.reason, caught.value.fields[0][0]) == ("NOT_OFFERED", f"datanet.{field}")
    check_offered(definition, {field})
    assert define.checked(definition, {field}).policy == definition.policy


def test_lengths_are_always_offered():
    check_offered(Definition("Terms", "MIT", policy=Policy(1, 9)), ())


def test_near_duplicates_are_refused_for_whoever_asks_for_that():
    check_offered(Definition("Terms", "MIT", policy=Policy(duplicates=Duplicates.REFUSE)))
