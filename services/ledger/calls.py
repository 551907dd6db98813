"""The transactions that the ledger sends, as calls: which contract, which function, which bytes. Pure.

What it does not know: who may send them (the contracts check) and whether they would succeed (`Chain.estimate`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from openledger.abi import datanet_key, encode_call
from openledger.spending import SignedClaim, SpendingAuthorisation, Transfer
from services.ledger.chain import Call, Contracts
from services.ledger.registries import Lineage, Split


@dataclass(frozen=True, slots=True)
class Redemption:
    """What to take for a payer: all spent so far, under an authorisation that the payer signed."""

    authorisation: SpendingAuthorisation
    cumulative_spent: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class ClaimLeaf:
    """One account's leaf with its proof."""

    account: str
    cumulative: int
    proof: Sequence[bytes]


def deposit_for(at: Contracts, payer: str, amount: int) -> Call:
    """Deposits the sender's OPEN (approved before) for a payer."""
    return Call(at.escrow, encode_call("InferenceEscrow", "depositFor", payer, amount))


def deposit_with_permit(at: Contracts, payer: str, amount: int, deadline: int, signature: bytes) -> Call:
    """Deposits the payer's own OPEN by the payer's signed permit (65 bytes r, s, v); anyone may send it."""
    r, s, v = signature[:32], signature[32:64], signature[64]
    return Call(at.escrow, encode_call("InferenceEscrow", "depositWithPermit", payer, amount, deadline, v, r, s))


def deposit_with_authorization(at: Contracts, transfer: Transfer, signature: bytes) -> Call:
    """Deposits the payer's own OPEN by the payer's signed ERC-3009 transfer (65 bytes r, s, v); anyone may send it."""
    r, s, v = signature[:32], signature[32:64], signature[64]
    terms = (transfer.valid_after, transfer.valid_before, transfer.nonce, v, r, s)
    arguments = (transfer.payer, transfer.amount, terms)
    return Call(at.escrow, encode_call("InferenceEscrow", "depositWithAuthorization", *arguments))


def transfer_with_authorization(at: Contracts, transfer: Transfer, signature: bytes) -> Call:
    """Sends the payer's OPEN by the payer's signed ERC-3009 transfer (65 bytes r, s, v); anyone may send it."""
    r, s, v = signature[:32], signature[32:64], signature[64]
    terms = (transfer.payer, transfer.to, transfer.amount, transfer.valid_after, transfer.valid_before, transfer.nonce)
    return Call(at.token, encode_call("OpenToken", "transferWithAuthorization", *terms, v, r, s))


def redeem(at: Contracts, redemptions: Sequence[Redemption]) -> Call:
    """Moves what payers have spent to the distributor. All or nothing. For the operator."""
    lines = [
        (r.authorisation.payer, r.cumulative_spent, r.authorisation.cap, r.authorisation.deadline, r.signature)
        for r in redemptions
    ]
    return Call(at.escrow, encode_call("InferenceEscrow", "redeem", lines))


def fund(at: Contracts, amount: int) -> Call:
    """Adds the sender's OPEN (approved before) to what the distributor may pay out."""
    return Call(at.distributor, encode_call("RewardsDistributor", "fund", amount))


def propose_root(
    at: Contracts, epoch: int, root: bytes, log_root: bytes, cumulative_total: int, leaf_count: int, uri: str
) -> Call:
    """Proposes an epoch's root. For the proposer."""
    arguments = (epoch, root, log_root, cumulative_total, leaf_count, uri)
    return Call(at.distributor, encode_call("RewardsDistributor", "proposeRoot", *arguments))


def veto(at: Contracts, epoch: int, reason: str) -> Call:
    """Strikes a pending root and those after it. For the guardian."""
    return Call(at.distributor, encode_call("RewardsDistributor", "veto", epoch, reason))


def challenge(at: Contracts, epoch: int, root: bytes, evidence: str) -> Call:
    """Freezes a pending root. For anybody who approved the bond; `evidence`: where it says what is wrong."""
    return Call(at.distributor, encode_call("RewardsDistributor", "challenge", epoch, root, evidence))


def resolve(at: Contracts, epoch: int, root: bytes, *, valid: bool) -> Call:
    """The verdict on a challenged root. For the arbiter."""
    return Call(at.distributor, encode_call("RewardsDistributor", "resolve", epoch, root, valid))


def prove_decrease(at: Contracts, earlier: int, earlier_leaf: ClaimLeaf, later: int, later_leaf: ClaimLeaf) -> Call:
    """Strikes out the pending root `later`, in which an account has less than in `earlier`. For anybody."""
    lines = [
        (epoch, leaf.cumulative, list(leaf.proof)) for epoch, leaf in ((earlier, earlier_leaf), (later, later_leaf))
    ]
    return Call(at.distributor, encode_call("RewardsDistributor", "proveDecrease", later_leaf.account, *lines))


def take_bond(at: Contracts, to: str) -> Call:
    """Pays the sender's returned bonds to an address."""
    return Call(at.distributor, encode_call("RewardsDistributor", "takeBond", to))


def claim(at: Contracts, epoch: int, leaf: ClaimLeaf) -> Call:
    """Pays one account. Fails if there is nothing left to pay."""
    arguments = (leaf.account, leaf.cumulative, epoch, list(leaf.proof))
    return Call(at.distributor, encode_call("RewardsDistributor", "claim", *arguments))


def claim_with_sig(
    at: Contracts, epoch: int, signed: SignedClaim, proof: Sequence[bytes], signature: bytes, fee: int
) -> Call:
    """Pays one account where it signed for, less `fee` for the sender. For anybody."""
    terms = (signed.account, signed.to, signed.cumulative, signed.max_fee, signed.deadline, list(proof), signature)
    return Call(at.distributor, encode_call("RewardsDistributor", "claimWithSig", terms, epoch, fee))


def claim_many(at: Contracts, epoch: int, leaves: Sequence[ClaimLeaf]) -> Call:
    """Pays many accounts; what cannot be paid is skipped."""
    lines = [(leaf.account, leaf.cumulative, list(leaf.proof)) for leaf in leaves]
    return Call(at.distributor, encode_call("RewardsDistributor", "claimMany", epoch, lines))


def commit_snapshot(at: Contracts, datanet: str, version: int, root: bytes, records: int, uri: str) -> Call:
    """Anchors a snapshot of a datanet, named by its resource name. For the committer."""
    arguments = (datanet_key(datanet), version, root, records, uri)
    return Call(at.registry, encode_call("DatanetRegistry", "commitSnapshot", *arguments))


def register(at: Contracts, revision: bytes, lineage: Lineage, split: Split, uri: str) -> Call:
    """Registers an adapter revision by its manifest's SHA-256; its snapshots must be anchored. For the committer."""
    snapshots = [(datanet_key(datanet), version, root) for datanet, version, root in lineage.snapshots]
    terms = (split.developer_bps, split.stakers_bps)
    arguments = (revision, lineage.index_root, lineage.base, snapshots, lineage.developer, terms, uri)
    return Call(at.models, encode_call("ModelRegistry", "register", *arguments))


def transfer(at: Contracts, to: str, amount: int) -> Call:
    """Sends the sender's OPEN."""
    return Call(at.token, encode_call("OpenToken", "transfer", to, amount))


def approve(at: Contracts, spender: str, amount: int) -> Call:
    """Lets a contract take the sender's OPEN."""
    return Call(at.token, encode_call("OpenToken", "approve", spender, amount))
