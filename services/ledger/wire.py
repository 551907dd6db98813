"""The ledger's values as messages of its API."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from openledger.ledger.v1 import ledger_pb2
from openledger.split import Rule
from services.ledger.claims_book import Claimable
from services.ledger.lease import Lease
from services.ledger.registries import Revision, Split
from services.ledger.splits import Held
from services.ledger.store.books import Payout
from services.ledger.store.corrections import Taken
from services.ledger.store.epochs import Epoch
from services.ledger.store.payouts import Given
from services.ledger.store.registrations import Registration


def moment(value: datetime | int) -> Timestamp:
    """A time, aware or in Unix seconds."""
    stamp = Timestamp()
    if isinstance(value, int):
        stamp.FromSeconds(value)
    else:
        stamp.FromDatetime(value)
    return stamp


def epoch(value: Epoch) -> ledger_pb2.Epoch:
    """An epoch."""
    message = ledger_pb2.Epoch(
        name=f"epochs/{value.number}",
        state=ledger_pb2.EpochState.Value(f"EPOCH_STATE_{value.state}"),
        root="0x" + value.root,
        log_root="0x" + value.log_root,
        receipt_count=value.receipt_count,
        leaf_count=value.leaf_count,
        total=str(value.total),
        transaction=value.transaction,
        create_time=moment(value.create_time),
        bundle=f"sha256:{value.bundle}" if value.bundle else "",
        held_up=value.held_up,
        waiting=str(value.waiting),
    )
    if value.activate_time:
        message.activate_time.CopyFrom(moment(value.activate_time))
    return message


def lease(value: Lease) -> ledger_pb2.Lease:
    """A lease."""
    return ledger_pb2.Lease(
        name=value.name,
        account=f"accounts/{value.payer}",
        amount=str(value.amount),
        charged=str(value.charged),
        expire_time=moment(value.expire_time),
    )


def claim(value: Claimable) -> ledger_pb2.Claim:
    """What can be claimed."""
    return ledger_pb2.Claim(
        account=f"accounts/{value.account}",
        epoch=f"epochs/{value.epoch}",
        cumulative=str(value.cumulative),
        proof=value.proof,
        amount=str(value.amount),
    )


def payout(value: Payout) -> ledger_pb2.Payout:
    """How a fee was divided."""
    return ledger_pb2.Payout(
        response=value.response,
        payer=f"accounts/{value.payer}",
        fee=str(value.fee),
        shares={key: str(amount) for key, amount in value.shares.items()},
        receipt_sha256=value.sha256,
        epoch="" if value.epoch is None else f"epochs/{value.epoch}",
        correction="" if value.correction is None else f"journals/{value.correction}",
    )


def given(value: Given) -> ledger_pb2.EpochPayout:
    """What an epoch gave to an account."""
    return ledger_pb2.EpochPayout(
        epoch=f"epochs/{value.epoch}",
        account=f"accounts/{value.account}",
        amount=str(value.amount),
        cumulative=str(value.cumulative),
        waiting=str(value.waiting),
        state=ledger_pb2.EpochState.Value(f"EPOCH_STATE_{value.state}"),
    )


def correction(value: Taken) -> ledger_pb2.Correction:
    """A journal that took another one back."""
    return ledger_pb2.Correction(
        name=f"journals/{value.journal}",
        corrects=f"journals/{value.corrects}",
        cause=value.cause,
        operator=f"accounts/{value.operator}",
        reason=value.reason,
        create_time=moment(value.create_time),
    )


def registration(
    begun: ledger_pb2.ModelRegistration, value: Registration, found: Revision
) -> ledger_pb2.ModelRegistration:
    """A revision as asked for and as the chain has it now, added to what is said of it already."""
    begun.MergeFrom(
        ledger_pb2.ModelRegistration(
            index_root=value.index_root,
            base_sha256=value.base,
            snapshots=[ledger_pb2.RevisionSnapshot(snapshot=name, root=root) for name, root in value.snapshots],
            developer=f"accounts/{value.developer}",
            split=_split(found.split),
            register_time=moment(found.registered_at),
        )
    )
    if found.change is not None:
        begun.announced_split.CopyFrom(_split(found.change))
        begun.announced_split_time.CopyFrom(moment(found.change_at))
    return begun


def split_version(revision: str, held: Held, own: Rule) -> ledger_pb2.SplitVersion:
    """A split of a revision, with from when to when it holds; `own`: this ledger's rule."""
    split = held.since.split if held.since else Split(own.developer_bps, own.stakers_bps)
    rule = replace(own, developer_bps=split.developer_bps, stakers_bps=split.stakers_bps)
    message = ledger_pb2.SplitVersion(revision=revision, split=_split(split), rule_sha256=rule.digest())
    if held.since is not None:
        message.start_time.CopyFrom(moment(held.since.time))
        message.transaction, message.block = held.since.tx_hash, held.since.block
    if held.until is not None:
        message.end_time.CopyFrom(moment(held.until))
    return message


def _split(value: Split) -> ledger_pb2.RevisionSplit:
    return ledger_pb2.RevisionSplit(
        developer_bps=value.developer_bps,
        stakers_bps=value.stakers_bps,
        contributors_bps=value.contributors_bps,
    )
