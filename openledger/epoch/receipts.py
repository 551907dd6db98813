"""Checks of a bundle's receipts: by which terms, signed, and split as their evidence says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from openledger.epoch import books, documents
from openledger.epoch.books import Journal
from openledger.epoch.bundle import RECEIPTS, Bundle, Settlement, whole
from openledger.epoch.case import Case, Derived
from openledger.epoch.netting import ELSEWHERE, RECORDS, Net, provisional
from openledger.epoch.report import Wrong

_SAYS_WHO_HAS_THE_TRACE = "openledger.receipt.v6"

Group = tuple[str, str, bytes]
"""What is settled together: settlement, model, rule."""


def terms(case: Case) -> str:
    """The receipts are of the manifest's terms, and in its settlements."""
    manifest = case.given.manifest
    _settlements_follow_each_other(manifest.epoch, manifest.settlements)
    rules, platforms, signers, doubted = set(), set(), set(), 0
    for _, document, _ in stream(case.given):
        doubted += document["evidence"]["trust_bps"] != 10_000
        rules.add(documents.dumps(document["rule"]))
        platforms.add(document["platform"].lower())
        signers.add(document["signer"])
    named = {documents.dumps(rule) for rule in manifest.terms.rules}
    for what, there, said in (
        ("split by the rules", rules, named),
        ("of the platforms", platforms, set(manifest.terms.platforms)),
        ("signed by", signers, set(manifest.terms.signers)),
    ):
        if there != said:
            raise Wrong(f"the receipts are not {what} that the manifest names")
    if case.signers and not signers <= case.signers:
        raise Wrong(f"receipts are signed by {min(signers - case.signers)}, whom you do not expect")
    again = (
        f", in {len(manifest.settlements)} settlements: it was sealed again" if len(manifest.settlements) > 1 else ""
    )
    believed = f"; that {doubted} believe their scores in part is for `verify receipt` to check" if doubted else ""
    return (
        f"epoch {manifest.epoch} of the distributor {manifest.distributor} on chain {manifest.chain_id}{again}; "
        f"{len(rules)} rule, platform {', '.join(sorted(platforms))}, signed by {', '.join(sorted(signers))}{believed}"
    )


def _settlements_follow_each_other(epoch: int, found: list[Settlement]) -> None:
    if not found:
        raise Wrong("the manifest names no settlement")
    if [run.name for run in found] != [f"{epoch}.{attempt}" for attempt in range(1, len(found) + 1)]:
        raise Wrong(f"the settlements are not {epoch}.1 and those that follow it")
    ends = [found[0].above, *(run.through for run in found)]
    if ends != sorted(ends) or [run.above for run in found] != ends[:-1]:
        raise Wrong("the settlements do not follow each other without a gap")


def signatures(case: Case) -> str:
    """The receipts are signed, and no answer has two."""
    count, private, names = 0, 0, set[bytes]()
    for number, document, data in stream(case.given):
        try:
            documents.loads(data)
            documents.check_signature(document)
        except ValueError as error:
            raise Wrong(f"the receipt of journal {number}: {error}") from error
        private += not is_public(number, document)
        names.add(answer(document))
        count += 1
    if len(names) != count:
        raise Wrong(f"{count - len(names)} answers have more than one receipt")
    case.answers = names
    told = f"; of {private} of them only who paid has the trace" if private else ""
    return f"{count} receipts are in canonical form and signed, each of another answer{told}"


def answer(document: Mapping[str, Any]) -> bytes:
    """What tells the receipt's answer from all others: 16 bytes of its name's SHA-256."""
    return hashlib.sha256(document["response"].encode()).digest()[:16]


def is_public(number: int, document: Mapping[str, Any]) -> bool:
    """Whether everybody must have the answer's trace, so that anybody can compute the receipt again.

    Versions before the sixth do not say it, and were published all.  Raises `Wrong` for one that says it and may not,
    or may not leave it out.
    """
    says = document.get("version") == _SAYS_WHO_HAS_THE_TRACE
    if ("published" in document) != says or (says and type(document["published"]) is not bool):
        raise Wrong(f"the receipt of journal {number} does not say as its version does whether its trace is published")
    return not says or document["published"] is True


def shares(case: Case) -> str:
    """The shares follow from the evidence.  Derives on the way what the later checks compare with."""
    manifest = case.given.manifest
    nets: dict[Group, Net] = {}
    earned: dict[str, int] = {}
    corrections: dict[str, tuple[int, Journal]] = {}
    digests, fees = [], 0
    for number, document, data in stream(case.given):
        shares = _checked_shares(number, document)
        digests.append(hashlib.sha256(data).digest())
        journal = books.of_answer(document, "", shares)
        if (why := case.taken_back.get(journal.key)) is not None:
            correction = books.of_correction(journal, why)
            corrections[correction.key] = number, correction
            continue
        settlement = next(run.name for run in manifest.settlements if number <= run.through)
        evidence, rule = document["evidence"], document["rule"]
        group = settlement, books.model(document), documents.dumps(rule)
        pooled = [key for key in shares if key not in ELSEWHERE and not key.startswith(RECORDS)]
        money = sum(shares[key] for key in pooled)
        nets.setdefault(group, Net(rule)).add(money, evidence)
        _earn(earned, journal)
        fees += whole(document["fee"])
    if len(corrections) != len(case.taken_back):
        raise Wrong(f"{len(case.taken_back) - len(corrections)} answers were taken back whose receipts are not here")
    settlements = _settlements(nets)
    for journal in settlements.values():
        _earn(earned, journal)
    case.derived = Derived(fees, settlements, corrections, earned, digests)
    return (
        f"the shares of {len(digests)} receipts, computed again from their evidence, are those that they name; settled "
        f"together in {len(nets)} groups (a model's answers by one rule)"
    )


def _checked_shares(number: int, document: dict[str, Any]) -> dict[str, int]:
    found = provisional(document)
    named = {key: whole(amount) for key, amount in document["shares"].items()}
    if found != named:
        key = min(k for k in found.keys() | named.keys() if found.get(k) != named.get(k))
        raise Wrong(
            f"the receipt of journal {number} gives {key} {named.get(key, 0)}, by its evidence "
            f"it is {found.get(key, 0)}"
        )
    return found


def _settlements(nets: dict[Group, Net]) -> dict[str, Journal]:
    """The journals that settle these groups, by key: one a model and settlement."""
    amounts: dict[tuple[str, str], dict[str, int]] = {}
    for (name, model, _), net in nets.items():
        together = amounts.setdefault((name, model), {})
        for who, amount in net.settled().items():
            together[who] = together.get(who, 0) + amount
    journals = (books.of_settlement(name, model, found) for (name, model), found in amounts.items() if found)
    return {journal.key: journal for journal in journals}


def _earn(earned: dict[str, int], journal: Journal) -> None:
    for book, amount in journal.postings.items():
        kind, _, who = book.partition(":")
        if kind == "payable":
            earned[who] = earned.get(who, 0) + amount


def stream(bundle: Bundle) -> Iterator[tuple[int, dict[str, Any], bytes]]:
    """(journal, document, its bytes) of each receipt, in order."""
    runs = bundle.manifest.settlements
    before, through = runs[0].above, runs[-1].through
    for row in bundle.rows(RECEIPTS):
        number, data = row["journal"], row["document"]
        if not before < number <= through:
            raise Wrong(f"the receipt of journal {number} is out of order, or not of this epoch's settlements")
        try:
            document = documents.parse(data)
        except ValueError as error:
            raise Wrong(f"the receipt of journal {number} cannot be read: {error}") from error
        if not isinstance(document, dict):
            raise Wrong(f"the receipt of journal {number} is no receipt")
        yield number, document, data
        before = number
