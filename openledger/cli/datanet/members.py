"""`openledger datanet members, invite, join, admit, remove`: who is in a datanet."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

import typer

from openledger.cli.connection import Json, dump, run
from openledger.cli.datanet.datanets import Name, full_name
from openledger.datanet.v1 import datanet_pb2 as pb

Account = Annotated[str, typer.Argument(help="accounts/0x..., or the address alone.")]
Role = Annotated[
    Literal["contributor", "validator"], typer.Option("--role", help="Gives records, or judges others' as well.")
]


def members(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """List who is in a datanet of yours, is invited or has asked; of another's, yourself.

    Example: openledger datanet members rare-terms
    """

    async def work() -> Any:
        found = pb.ListMembersResponse()
        async with context.obj.client() as client:
            while True:
                request = pb.ListMembersRequest(
                    parent=full_name(name), page_size=1000, page_token=found.next_page_token
                )
                page = await client.call(client.datanet.ListMembers, request)
                found.members.extend(page.members)
                found.next_page_token = page.next_page_token
                if not page.next_page_token:
                    return found

    found = run(work)
    if as_json:
        dump(found)
        return
    for member in found.members:
        _show(member, as_json=False)


def invite(
    context: typer.Context, name: Name, account: Account, role: Role = "contributor", as_json: Json = False
) -> None:
    """Invite an account into a datanet of yours; of one who is in, change the role.

    Example: openledger datanet invite rare-terms 0x114d...9dc9 --role validator
    """
    request = pb.InviteMemberRequest(
        parent=full_name(name), account=_account(account), role=_role(role), request_id=str(uuid.uuid4())
    )
    _show(_called(context, "InviteMember", request), as_json=as_json)


def join(context: typer.Context, name: Name, role: Role = "contributor", as_json: Json = False) -> None:
    """Ask to be let into a datanet, or accept an invitation.

    Example: openledger datanet join rare-terms
    """
    request = pb.RequestMembershipRequest(parent=full_name(name), role=_role(role), request_id=str(uuid.uuid4()))
    _show(_called(context, "RequestMembership", request), as_json=as_json)


def admit(context: typer.Context, name: Name, account: Account, as_json: Json = False) -> None:
    """Let in who has asked.

    Example: openledger datanet admit rare-terms 0x114d...9dc9
    """
    request = pb.AdmitMemberRequest(name=_member(name, account), request_id=str(uuid.uuid4()))
    _show(_called(context, "AdmitMember", request), as_json=as_json)


def remove(context: typer.Context, name: Name, account: Account, as_json: Json = False) -> None:
    """Send a member away, turn down who asked, or leave yourself.  Records stay.

    Example: openledger datanet remove rare-terms 0x114d...9dc9
    """
    request = pb.RemoveMemberRequest(name=_member(name, account), request_id=str(uuid.uuid4()))
    answer = _called(context, "RemoveMember", request)
    if as_json:
        dump(answer)
    else:
        typer.echo(f"{request.name} is out; records that it gave stay")


def _called(context: typer.Context, method: str, request: Any) -> Any:
    async def work() -> Any:
        async with context.obj.client() as client:
            return await client.call(getattr(client.datanet, method), request)

    return run(work)


def _account(account: str) -> str:
    return account if account.startswith("accounts/") else f"accounts/{account.lower()}"


def _member(datanet: str, account: str) -> str:
    return f"{full_name(datanet)}/members/{_account(account).removeprefix('accounts/')}"


def _role(role: str) -> pb.Role.ValueType:
    return pb.Role.Value(f"ROLE_{role.upper()}")


def _show(member: pb.Member, *, as_json: bool) -> None:
    if as_json:
        dump(member)
        return
    role = pb.Role.Name(member.role).removeprefix("ROLE_").lower()
    state = pb.MembershipState.Name(member.state).removeprefix("MEMBERSHIP_STATE_").lower()
    typer.echo(f"{member.account}  {role}, {state}")
