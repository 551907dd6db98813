"""Messages to values and back.  Refuses what the protos can say and this service does not offer yet."""

from __future__ import annotations

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from openledger import names
from openledger.datanet.v1 import datanet_pb2 as pb
from services.datanet.declare import Declaration
from services.datanet.model import Content, Datanet, Definition, Field, Policy, Record, Snapshot
from services.kit.errors import Fault, invalid


def definition(message: pb.Datanet) -> Definition:
    """What a message says about a datanet, not yet checked.  Raises `Fault` for what is not offered."""
    policy = message.policy
    if message.kind not in (pb.KIND_UNSPECIFIED, pb.KIND_TEXT):
        raise _not_offered("kind", "datanets hold text")
    if message.visibility not in (pb.VISIBILITY_UNSPECIFIED, pb.VISIBILITY_PUBLIC):
        raise _not_offered("visibility", "datanets are public")
    if policy.languages:
        raise _not_offered("policy.languages", "languages are not told apart")
    if policy.personal_data:
        raise _not_offered("policy.personal_data", "personal data is not looked for")
    if policy.reviews:
        raise _not_offered("policy.reviews", "records are admitted on the checks alone")
    return Definition(
        display_name=message.display_name,
        licence=message.licence,
        description=message.description,
        tags=tuple(message.tags),
        licence_notice=message.licence_notice,
        fields=tuple(Field(field.id, field.description, field.required) for field in message.fields),
        policy=Policy(policy.min_chars, policy.max_chars),
    )


def declaration(header: pb.ContributionHeader) -> Declaration:
    """The declaration of an upload, with what its header adds."""
    said = header.declaration
    return Declaration(
        datanet=names.match("datanets/*", header.datanet)[0],
        contributor=account_address(said.contributor),
        content_root=said.content_root,
        record_count=said.record_count,
        licence=said.licence,
        statement=said.statement,
        request_id=header.request_id,
        signature=said.signature,
    )


def unsigned(header: pb.ContributionHeader) -> pb.ContributionHeader:
    """What makes two uploads the same one: all but the signature, of which a wallet can make many for one message."""
    same = pb.ContributionHeader()
    same.CopyFrom(header)
    same.declaration.signature = b""
    same.declaration.contributor = names.account(account_address(header.declaration.contributor))
    return same


def account_address(name: str) -> str:
    """The lower-case address in `accounts/{address}`.  Raises `Fault` when there is none in it."""
    try:
        return names.account_address(name)
    except ValueError as error:
        raise invalid("INVALID_FIELD", f"contributor: {error}", "contributor") from None


def datanet(value: Datanet) -> pb.Datanet:
    said = value.definition
    return pb.Datanet(
        name=value.name,
        display_name=said.display_name,
        description=said.description,
        tags=said.tags,
        licence=said.licence,
        licence_notice=said.licence_notice,
        kind=pb.KIND_TEXT,
        fields=[pb.Field(id=f.id, description=f.description, required=f.required) for f in said.fields],
        visibility=pb.VISIBILITY_PUBLIC,
        policy=pb.Policy(min_chars=said.policy.min_chars, max_chars=said.policy.max_chars),
        owner=names.account(value.owner),
        record_count=value.record_count,
        contributor_count=value.contributor_count,
        create_time=_timestamp(value.create_time),
        update_time=_timestamp(value.update_time),
        etag=value.etag,
    )


def record(value: Record, content: Content | None) -> pb.Record:
    """Without its content, fields and source are left out: both tell what the record says."""
    return pb.Record(
        name=value.name,
        contributor=names.account(value.contributor),
        state=pb.RECORD_STATE_ACCEPTED,
        fields=content.fields if content else {},
        source=content.source if content else "",
        licence=value.licence,
        commitment=value.commitment,
        create_time=_timestamp(value.create_time),
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
    )
    if value.anchor is not None:
        anchor = value.anchor
        message.anchor.chain_id, message.anchor.contract = anchor.chain_id, anchor.contract
        message.anchor.transaction, message.anchor.block = anchor.transaction, anchor.block
    return message


def snapshot_record(leaf: int, value: Record, content: Content) -> pb.SnapshotRecord:
    return pb.SnapshotRecord(
        leaf=leaf,
        record=value.name,
        contributor=names.account(value.contributor),
        fields=content.fields,
        source=content.source,
        salt=content.salt,
        commitment=value.commitment,
    )


def _timestamp(micros: int) -> Any:
    stamp = Timestamp()
    stamp.FromMicroseconds(micros)
    return stamp


def _not_offered(field: str, what_is: str) -> Fault:
    return invalid("NOT_OFFERED", f"datanet.{field}: is not offered; {what_is}", f"datanet.{field}")
