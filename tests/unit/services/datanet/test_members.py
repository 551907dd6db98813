from __future__ import annotations

from dataclasses import replace

import pytest

from services.datanet import members
from services.datanet.members import Member, Role, Standing, State
from services.datanet.model import Datanet, Definition, Visibility
from services.kit.auth import ANYONE, Principal
from services.kit.errors import Fault

OWNER, ADA, BOB = ("0x" + letter * 40 for letter in "cab")
INVITED, REQUESTED, ACTIVE = State.INVITED, State.REQUESTED, State.ACTIVE
CONTRIBUTOR, VALIDATOR = Role.CONTRIBUTOR, Role.VALIDATOR
PUBLIC, BY_REQUEST, PRIVATE = Visibility


def datanet(visibility: Visibility = PRIVATE) -> Datanet:
    return Datanet("terms", OWNER, Definition("Terms", "MIT", visibility=visibility), 0, 0, 1, 1, 1)


def ada(state: State, role: Role = CONTRIBUTOR) -> Member:
    return Member("terms", ADA, role, state, 1, 1)


def standing(who: str, visibility: Visibility = PRIVATE, member: Member | None = None, **more) -> Standing:
    return Standing(datanet(visibility), Principal(address=who) if who else ANYONE, member, **more)


def reason(call, *arguments) -> str:
    with pytest.raises(Fault) as caught:
        call(*arguments)
    return caught.value.reason


@pytest.mark.parametrize(
    ("visibility", "member", "gives", "validates"),
    (
        (PUBLIC, None, True, False),
        (BY_REQUEST, None, False, False),
        (PRIVATE, None, False, False),
        (PRIVATE, ada(INVITED), False, False),
        (BY_REQUEST, ada(REQUESTED), False, False),
        (PRIVATE, ada(ACTIVE), True, False),
        (PUBLIC, ada(INVITED, VALIDATOR), True, False),
        (BY_REQUEST, ada(ACTIVE, VALIDATOR), True, True),
    ),
)
def test_what_a_caller_may_follows_from_membership_and_visibility(visibility, member, gives, validates):
    at = standing(ADA, visibility, member)
    assert (at.may(CONTRIBUTOR), at.may(VALIDATOR), at.may(Role.OWNER)) == (gives, validates, False)
    if gives:
        at.must_give()
    else:
        assert reason(at.must_give) == "NOT_A_MEMBER"


@pytest.mark.parametrize("visibility", tuple(Visibility))
def test_the_owner_may_everything_and_nobody_nothing(visibility):
    assert all(standing(OWNER, visibility).may(role) for role in Role)
    assert not any(standing("", visibility).may(role) for role in Role)


def test_a_private_datanet_is_seen_by_those_who_have_to_do_with_it():
    assert [standing(ADA, v).sees for v in (PUBLIC, BY_REQUEST, PRIVATE)] == [True, True, False]
    assert standing(OWNER).sees
    assert standing(ADA, member=ada(INVITED)).sees
    assert standing(ADA, member=ada(ACTIVE)).sees
    assert not standing(ADA, member=ada(REQUESTED)).sees, "who asked while it was open"
    assert standing(ADA, gave=True).sees, "who gave a record and was sent away"
    assert not standing("").sees
    assert Standing(datanet(), Principal(service="factory")).sees


def test_an_invitation_is_accepted_by_asking():
    invitation = members.invited(standing(OWNER), ADA, None, VALIDATOR, 5)
    assert invitation == Member("terms", ADA, VALIDATOR, INVITED, 5, 5)
    accepted = members.requested(standing(ADA, member=invitation), CONTRIBUTOR, 9)
    assert accepted == replace(invitation, state=ACTIVE, update_time=9), "the invitation's role holds"


def test_a_request_is_answered_by_admission_or_invitation():
    asked = members.requested(standing(ADA, BY_REQUEST), CONTRIBUTOR, 5)
    assert asked == Member("terms", ADA, CONTRIBUTOR, REQUESTED, 5, 5)
    owner = standing(OWNER, BY_REQUEST)
    assert members.admitted(owner, "", asked, None, 9) == replace(asked, state=ACTIVE, update_time=9)
    assert members.admitted(owner, "", asked, VALIDATOR, 9).role is VALIDATOR
    assert members.invited(owner, ADA, asked, VALIDATOR, 9) == replace(
        asked, role=VALIDATOR, state=ACTIVE, update_time=9
    )
    again = members.requested(standing(ADA, BY_REQUEST, asked), VALIDATOR, 7)
    assert (again.role, again.state) == (VALIDATOR, REQUESTED)


def test_of_who_is_in_the_owner_changes_the_role_and_nobody_else_does():
    present = ada(ACTIVE)
    promoted = members.invited(standing(OWNER), ADA, present, VALIDATOR, 9)
    assert promoted == replace(present, role=VALIDATOR, update_time=9)
    assert members.requested(standing(ADA, member=promoted), CONTRIBUTOR, 10) == promoted
    assert reason(members.requested, standing(ADA, member=present), VALIDATOR, 10) == "MEMBER_ALREADY"
    assert members.admitted(standing(OWNER), "", present, VALIDATOR, 10) == present


def test_what_makes_no_sense_is_refused():
    assert reason(members.invited, standing(ADA, member=ada(ACTIVE, VALIDATOR)), BOB, None, CONTRIBUTOR, 1) == (
        "NOT_YOURS"
    )
    assert reason(members.invited, standing(OWNER), OWNER, None, CONTRIBUTOR, 1) == "INVALID_FIELD"
    assert reason(members.invited, standing(OWNER), ADA, None, Role.OWNER, 1) == "INVALID_FIELD"
    assert reason(members.requested, standing(OWNER), CONTRIBUTOR, 1) == "MEMBER_ALREADY"
    assert reason(members.requested, standing(ADA, PUBLIC), CONTRIBUTOR, 1) == "MEMBER_ALREADY"
    assert reason(members.requested, standing(ADA, BY_REQUEST), Role.OWNER, 1) == "INVALID_FIELD"
    assert reason(members.admitted, standing(OWNER), "x", None, None, 1) == "MEMBER_NOT_FOUND"
    assert reason(members.admitted, standing(OWNER), "x", ada(INVITED), None, 1) == "NOT_REQUESTED"
    assert reason(members.admitted, standing(BOB, BY_REQUEST), "x", ada(REQUESTED), None, 1) == "NOT_YOURS"
    assert reason(members.admitted, standing(OWNER), "x", ada(REQUESTED), Role.OWNER, 1) == "INVALID_FIELD"


def test_one_leaves_by_oneself_or_is_sent_away_by_the_owner():
    members.check_removal(standing(ADA, member=ada(ACTIVE)), ADA)
    members.check_removal(standing(OWNER), ADA)
    assert reason(members.check_removal, standing(ADA, member=ada(ACTIVE, VALIDATOR)), BOB) == "NOT_YOURS"


def test_a_full_datanet_takes_no_more():
    members.check_room(4, 5, datanet())
    assert reason(members.check_room, 5, 5, datanet()) == "MEMBERS_FULL"
