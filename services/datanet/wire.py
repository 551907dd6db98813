"""Messages to values and back.  Whether what they say can stand is said elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from openledger import names
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet.declare import Declaration
from services.datanet.members import Member, Role, State
from services.datanet.model import (
    Content,
    Datanet,
    Definition,
    Duplicates,
    Field,
    Kind,
    PersonalData,
    Policy,
    Record,
    RecordState,
    Snapshot,
    Visibility,
)
from services.datanet.screen import Finding, language
from services.kit.errors import invalid

E = TypeVar("E", bound=Enum)

CONTENT_LOST = "CONTENT_LOST"
"""The reason of a record that is neither erased nor opens."""

_KINDS = {Kind.TEXT: pb.KIND_TEXT, Kind.IMAGE: pb.KIND_IMAGE}
_VISIBILITIES = {
    Visibility.PUBLIC: pb.VISIBILITY_PUBLIC,
    Visibility.BY_REQUEST: pb.VISIBILITY_BY_REQUEST,
    Visibility.PRIVATE: pb.VISIBILITY_PRIVATE,
}
_PERSONAL_DATA = {
    PersonalData.IGNORE: pb.PERSONAL_DATA_POLICY_UNSPECIFIED,
    PersonalData.MASK: pb.PERSONAL_DATA_POLICY_MASK,
    PersonalData.ASK: pb.PERSONAL_DATA_POLICY_ASK,
    PersonalData.REFUSE: pb.PERSONAL_DATA_POLICY_REFUSE,
}
_DUPLICATES = {
    Duplicates.IGNORE: pb.DUPLICATE_POLICY_UNSPECIFIED,
    Duplicates.REFUSE: pb.DUPLICATE_POLICY_REFUSE,
    Duplicates.CREDIT: pb.DUPLICATE_POLICY_CREDIT,
}
_ROLES = {
    Role.CONTRIBUTOR: pb.ROLE_CONTRIBUTOR,
    Role.VALIDATOR: pb.ROLE_VALIDATOR,
    Role.OWNER: pb.ROLE_OWNER,
}
_RECORD_STATES = {
    RecordState.SCREENED: pb.RECORD_STATE_SCREENED,
    RecordState.ACCEPTED: pb.RECORD_STATE_ACCEPTED,
    RecordState.WITHDRAWN: pb.RECORD_STATE_WITHDRAWN,
    RecordState.ERASED: pb.RECORD_STATE_ERASED,
}
_STATES = {
    State.INVITED: pb.MEMBERSHIP_STATE_INVITED,
    State.REQUESTED: pb.MEMBERSHIP_STATE_REQUESTED,
    State.ACTIVE: pb.MEMBERSHIP_STATE_ACTIVE,
}


def definition(message: pb.Datanet) -> Definition:
    """What a message says about a datanet, not yet checked.  Raises `Fault` for numbers that name nothing."""
    said = message.policy
    policy = Policy(
        min_chars=said.min_chars,
        max_chars=said.max_chars,
        languages=tuple(said.languages),
        personal_data=_value(_PERSONAL_DATA, said.personal_data, "datanet.policy.personal_data"),
        duplicates=_value(_DUPLICATES, said.duplicates, "datanet.policy.duplicates"),
        reward_cut_bps=said.reward_cut_bps,
        reviews=said.reviews,
        reviewers=said.reviewers,
        gold_share_bps=said.gold_share_bps,
        review_days=said.review_days,
        quality=said.quality,
    )
    return Definition(
        display_name=message.display_name,
        licence=message.licence,
        description=message.description,
        tags=tuple(message.tags),
        licence_notice=message.licence_notice,
        fields=tuple(Field(field.id, field.description, field.required) for field in message.fields),
        policy=policy,
        kind=_value(_KINDS, message.kind or pb.KIND_TEXT, "datanet.kind"),
        visibility=_value(_VISIBILITIES, message.visibility or pb.VISIBILITY_PUBLIC, "datanet.visibility"),
    )


def kind(number: int) -> Kind | None:
    """`None` where none is named.  Raises `Fault`."""
    return _value(_KINDS, number, "kind") if number else None


def role(number: int) -> Role | None:
    """`None` where none is named.  Raises `Fault`."""
    return _value(_ROLES, number, "role") if number else None


def declaration(header: pb.ContributionHeader) -> Declaration:
    """The declaration of an upload, with what its header adds."""
    return _declaration(header.declaration, names.match("datanets/*", header.datanet)[0], header.request_id)


def confirmation(request: pb.ConfirmRecordRequest, datanet: str) -> Declaration:
    """The declaration about one record that waited.  datanet: its id."""
    return _declaration(request.declaration, datanet, request.request_id)


def _declaration(said: pb.Declaration, datanet: str, request_id: str) -> Declaration:
    return Declaration(
        datanet=datanet,
        contributor=account_address(said.contributor),
        content_root=said.content_root,
        record_count=said.record_count,
        licence=said.licence,
        statement=said.statement,
        request_id=request_id,
        signature=said.signature,
    )


def unsigned(header: pb.ContributionHeader) -> pb.ContributionHeader:
    """What makes two uploads the same one: all but the signature, of which a wallet can make many for one message."""
    same = pb.ContributionHeader()
    same.CopyFrom(header)
    same.declaration.signature = b""
    same.declaration.contributor = names.account(account_address(header.declaration.contributor))
    return same


def account_address(name: str, field: str = "contributor") -> str:
    """The lower-case address in `accounts/{address}`.  Raises `Fault` when there is none in it."""
    try:
        return names.account_address(name)
    except ValueError as error:
        raise invalid("INVALID_FIELD", f"{field}: {error}", field) from None


def member_key(name: str) -> tuple[str, str]:
    """Datanet and address in `datanets/{datanet}/members/{address}`.  Raises `Fault`."""
    datanet, address = names.match("datanets/*/members/*", name)
    try:
        return datanet, names.address(address)
    except ValueError as error:
        raise invalid("INVALID_FIELD", f"name: {error}", "name") from None


def datanet(value: Datanet) -> pb.Datanet:
    said = value.definition
    return pb.Datanet(
        name=value.name,
        display_name=said.display_name,
        description=said.description,
        tags=said.tags,
        licence=said.licence,
        licence_notice=said.licence_notice,
        kind=_KINDS[said.kind],
        fields=[pb.Field(id=f.id, description=f.description, required=f.required) for f in said.fields],
        visibility=_VISIBILITIES[said.visibility],
        policy=_policy(said.policy),
        owner=names.account(value.owner),
        record_count=value.record_count,
        contributor_count=value.contributor_count,
        create_time=_timestamp(value.create_time),
        update_time=_timestamp(value.update_time),
        etag=value.etag,
    )


def _policy(value: Policy) -> pb.Policy:
    return pb.Policy(
        languages=value.languages,
        min_chars=value.min_chars,
        max_chars=value.max_chars,
        personal_data=_PERSONAL_DATA[value.personal_data],
        reviews=value.reviews,
        duplicates=_DUPLICATES[value.duplicates],
        reward_cut_bps=value.reward_cut_bps,
        reviewers=value.reviewers,
        gold_share_bps=value.gold_share_bps,
        review_days=value.review_days,
        quality=value.quality,
    )


def member(value: Member) -> pb.Member:
    return pb.Member(
        name=value.name,
        account=names.account(value.account),
        role=_ROLES[value.role],
        state=_STATES[value.state],
        create_time=_timestamp(value.create_time),
        update_time=_timestamp(value.update_time),
    )


def checks(findings: Sequence[Finding]) -> list[pb.Check]:
    """Without what they suggest."""
    return [pb.Check(id=f.check, passed=f.passed, message=f.message, reason=f.reason, value=f.value) for f in findings]


def record(
    value: Record,
    content: Content | None,
    revisions: Sequence[str] = (),
    *,
    findings: Sequence[Finding] = (),
    told: bool = False,
) -> pb.Record:
    """Without its content, fields and source are left out: both tell what the record says.

    revisions: of an erased record, names of those that were trained on it.  findings: of the checks.  told: to somebody
    who is told them, why it is in its state, and where it cannot be opened.
    """
    waits = value.state is RecordState.SCREENED
    return pb.Record(
        name=value.name,
        contributor=names.account(value.contributor),
        state=_RECORD_STATES[value.state],
        fields=content.fields if content else {},
        source=content.source if content else "",
        licence=value.licence,
        commitment=value.commitment,
        create_time=_timestamp(value.create_time),
        reason=CONTENT_LOST if told and content is None and value.state is not RecordState.ERASED else "",
        checks=checks(findings) if told else (),
        language=language(findings) if told else "",
        suggested_fields=(content.suggested if content and waits else None) or {},
        message=value.state_message if told else "",
        state_time=None if value.state_time is None else _timestamp(value.state_time),
        adapter_revisions=revisions,
    )


def snapshot(value: Snapshot) -> pb.Snapshot:
    message = pb.Snapshot(
        name=value.name,
        version=value.version,
        root=value.root,
        record_count=value.record_count,
        contributor_count=value.contributor_count,
        licence=value.licence,
        create_time=_timestamp(value.create_time),
        manifest=value.manifest,
        parent=value.parent,
        log_root=value.log_root,
    )
    if value.anchor is not None:
        anchor = value.anchor
        message.anchor.chain_id, message.anchor.contract = anchor.chain_id, anchor.contract
        message.anchor.transaction, message.anchor.block = anchor.transaction, anchor.block
    return message


def snapshot_record(leaf: int, value: Record, content: Content | None) -> pb.SnapshotRecord:
    """Of an erased record, which has no content, the commitment is all that tells of it."""
    return pb.SnapshotRecord(
        leaf=leaf,
        record=value.name,
        contributor=names.account(value.contributor),
        fields=content.fields if content else {},
        source=content.source if content else "",
        salt=content.salt if content else b"",
        commitment=value.commitment,
        licence=value.licence,
    )


def _timestamp(micros: int) -> Any:
    stamp = Timestamp()
    stamp.FromMicroseconds(micros)
    return stamp


def _value(numbers: dict[E, Any], number: int, field: str) -> E:
    """The value of an enum's number; a newer client may know numbers that this service does not."""
    for value, known in numbers.items():
        if known == number:
            return value
    raise invalid("INVALID_FIELD", f"{field}: {number} names nothing that is known here", field)
