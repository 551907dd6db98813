"""Transport of members: who is let into a datanet, and who goes."""

from __future__ import annotations

from collections.abc import Callable

import grpc
from google.protobuf import empty_pb2
from sqlalchemy import Connection

from openledger import names
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet import members, pages, store_members, wire
from services.datanet.answers import Answers, now
from services.datanet.members import Member, Role, Standing
from services.kit import call
from services.kit.auth import ACCOUNTS

ACCESS = {
    "InviteMember": ACCOUNTS,
    "RequestMembership": ACCOUNTS,
    "AdmitMember": ACCOUNTS,
    "RemoveMember": ACCOUNTS,
    "ListMembers": ACCOUNTS,
}


class MemberMethods:
    """RPCs about members.  `most`: members of one datanet, those invited and those who asked included."""

    def __init__(self, answers: Answers, most: int) -> None:
        self._answers, self._most_members = answers, most

    async def InviteMember(self, request: pb.InviteMemberRequest, context: grpc.aio.ServicerContext) -> pb.Member:
        (datanet,) = names.match("datanets/*", request.parent)
        account = wire.account_address(request.account, "account")
        role = wire.role(request.role) or Role.CONTRIBUTOR
        change = self._changing(
            datanet, account, lambda at, present: members.invited(at, account, present, role, now())
        )
        return await self._answers.once("InviteMember", request.request_id, request, pb.Member, change)

    async def RequestMembership(
        self, request: pb.RequestMembershipRequest, context: grpc.aio.ServicerContext
    ) -> pb.Member:
        (datanet,) = names.match("datanets/*", request.parent)
        role = wire.role(request.role) or Role.CONTRIBUTOR
        change = self._changing(datanet, call.principal().address, lambda at, _: members.requested(at, role, now()))
        return await self._answers.once("RequestMembership", request.request_id, request, pb.Member, change)

    async def AdmitMember(self, request: pb.AdmitMemberRequest, context: grpc.aio.ServicerContext) -> pb.Member:
        datanet, account = wire.member_key(request.name)
        role = wire.role(request.role)
        change = self._changing(
            datanet, account, lambda at, present: members.admitted(at, request.name, present, role, now())
        )
        return await self._answers.once("AdmitMember", request.request_id, request, pb.Member, change)

    async def RemoveMember(self, request: pb.RemoveMemberRequest, context: grpc.aio.ServicerContext) -> empty_pb2.Empty:
        (datanet, account), caller = wire.member_key(request.name), call.principal()

        def act(c: Connection) -> empty_pb2.Empty:
            members.check_removal(store_members.standing(c, datanet, caller, lock=True), account)
            if not store_members.remove(c, datanet, account):
                raise members.no_member(request.name)
            return empty_pb2.Empty()

        return await self._answers.once("RemoveMember", request.request_id, request, empty_pb2.Empty, act)

    async def ListMembers(
        self, request: pb.ListMembersRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListMembersResponse:
        (datanet,) = names.match("datanets/*", request.parent)
        question, size, caller = f"members of {datanet}", pages.size(request.page_size), call.principal()
        after = pages.after(question, request.page_token, [str])

        def look(c: Connection) -> list[Member]:
            at = store_members.standing(c, datanet, caller)
            if not at.owns:
                return [at.member] if at.member is not None and after is None else []
            return store_members.page(c, datanet, str(after[0]) if after else "", size + 1)

        page, more = pages.cut(await self._answers.database.read(look), size, lambda _: 300)
        token = pages.token(question, [page[-1].account]) if more else ""
        return pb.ListMembersResponse(members=map(wire.member, page), next_page_token=token)

    def _changing(
        self, datanet: str, account: str, rule: Callable[[Standing, Member | None], Member]
    ) -> Callable[[Connection], pb.Member]:
        """The transaction that puts an account's membership to what a rule makes of it."""
        caller = call.principal()

        def act(c: Connection) -> pb.Member:
            at = store_members.standing(c, datanet, caller, lock=True)
            present = store_members.get(c, datanet, account)
            changed = rule(at, present)
            if present is None:
                members.check_room(store_members.count(c, datanet), self._most_members, at.datanet)
            if changed != present:
                store_members.put(c, changed)
            return wire.member(changed)

        return act
