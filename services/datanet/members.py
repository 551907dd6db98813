"""Who is in a datanet, and what that lets them do.  `Standing.may` is the question that every other verb asks.

Plain rules: who has which membership is the store's to say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

from services.datanet.model import Datanet, Visibility
from services.kit.auth import Principal
from services.kit.errors import Fault, denied, exhausted, invalid, not_found, precondition


class Role(IntEnum):
    """What a member may do; each may what those before it may."""

    CONTRIBUTOR = 1
    VALIDATOR = 2
    OWNER = 3


class State(StrEnum):
    """How far a membership is: the owner has asked, the account has asked, it is in."""

    INVITED = "invited"
    REQUESTED = "requested"
    ACTIVE = "active"


@dataclass(frozen=True)
class Member:
    """An account in a datanet.  `account` is a lower-case address."""

    datanet: str
    account: str
    role: Role
    state: State
    create_time: int
    update_time: int

    @property
    def name(self) -> str:
        """`datanets/{datanet}/members/{address}`."""
        return f"datanets/{self.datanet}/members/{self.account}"


@dataclass(frozen=True)
class Standing:
    """Where a caller stands in a datanet.  `gave`: whether it has given records there, whoever it is now."""

    datanet: Datanet
    caller: Principal
    member: Member | None = None
    gave: bool = False

    @property
    def owns(self) -> bool:
        """Whether the datanet is the caller's."""
        return self.caller.address == self.datanet.owner

    @property
    def sees(self) -> bool:
        """Whether the caller may know that there is this datanet."""
        known = self.member is not None and self.member.state is not State.REQUESTED
        open_to_all = self.datanet.definition.visibility is not Visibility.PRIVATE
        return open_to_all or known or self.gave or self.owns or self.caller.service != ""

    def may(self, role: Role) -> bool:
        """Whether the caller may act in a role."""
        if self.owns:
            return True
        if self.member is not None and self.member.state is State.ACTIVE and self.member.role >= role:
            return True
        anyone = self.datanet.definition.visibility is Visibility.PUBLIC and role is Role.CONTRIBUTOR
        return anyone and self.caller.address != ""

    def must_own(self, what: str) -> None:
        """Raises `Fault` unless the caller is the owner.  `what` only the owner may, in words."""
        if not self.owns:
            raise denied("NOT_YOURS", f"only its owner {what} {self.datanet.name}")

    def must_give(self) -> None:
        """Raises `Fault` unless the caller may contribute."""
        if not self.may(Role.CONTRIBUTOR):
            raise denied(
                "NOT_A_MEMBER",
                f"{self.datanet.name} takes records from its members: ask to come in (RequestMembership), and give "
                "once its owner has let you in",
            )


def invited(standing: Standing, account: str, present: Member | None, role: Role, now: int) -> Member:
    """The membership after the owner's invitation; who has asked is in at once, of who is in the role changes.

    Raises `Fault`.
    """
    standing.must_own("invites people into")
    _check_role(role)
    if account == standing.datanet.owner:
        raise invalid("INVALID_FIELD", "account: the owner is in its datanet already", "account")
    if present is None:
        return Member(standing.datanet.id, account, role, State.INVITED, now, now)
    state = State.ACTIVE if present.state is State.REQUESTED else present.state
    return replace(present, role=role, state=state, update_time=now)


def requested(standing: Standing, role: Role, now: int) -> Member:
    """The membership after the caller asked for it; who was invited is in at once.  Raises `Fault`."""
    _check_role(role)
    if standing.owns:
        raise precondition("MEMBER_ALREADY", f"{standing.datanet.name} is the caller's own")
    present = standing.member
    if present is None:
        if standing.may(role):
            raise precondition("MEMBER_ALREADY", f"{standing.datanet.name} takes records from everybody: just give")
        return Member(standing.datanet.id, standing.caller.address, role, State.REQUESTED, now, now)
    if present.state is State.INVITED:
        return replace(present, state=State.ACTIVE, update_time=now)
    if present.state is State.REQUESTED:
        return replace(present, role=role, update_time=now)
    if present.role < role:
        raise precondition("MEMBER_ALREADY", f"{present.name} is in as another role: ask the owner to change it")
    return present


def admitted(standing: Standing, name: str, present: Member | None, role: Role | None, now: int) -> Member:
    """The membership after the owner let in who had asked; of who is in nothing changes.  Raises `Fault`."""
    standing.must_own("lets people into")
    if role is not None:
        _check_role(role)
    if present is None:
        raise no_member(name)
    if present.state is State.INVITED:
        raise precondition(
            "NOT_REQUESTED", f"{name} has not asked to come in: it was invited, and is in once it accepts"
        )
    if present.state is State.ACTIVE:
        return present
    return replace(present, role=role or present.role, state=State.ACTIVE, update_time=now)


def check_removal(standing: Standing, account: str) -> None:
    """Raises `Fault` unless the caller may end that account's membership: its own, or as the owner anybody's."""
    if standing.caller.address != account:
        standing.must_own("sends members away from")


def check_room(count: int, most: int, datanet: Datanet) -> None:
    """Raises `Fault` when there is no room for one more."""
    if count >= most:
        raise exhausted(
            "MEMBERS_FULL",
            f"{datanet.name} has {count} members, those invited and those who asked included, and no room for more: "
            "its owner can remove some",
            retry_after=3600,
        )


def no_member(name: str) -> Fault:
    """There is none of that name."""
    return not_found("MEMBER_NOT_FOUND", f"there is no {name}")


def _check_role(role: Role) -> None:
    if role is Role.OWNER:
        raise invalid("INVALID_FIELD", "role: a datanet has one owner, who opened it", "role")
