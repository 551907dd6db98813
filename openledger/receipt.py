"""The receipt of one answer: what was measured, by which rule it was split, and who gets what.

A receipt is canonical JSON, signed by the attribution service's key (EIP-191 over the SHA-256 of the unsigned
document).  `check_split` recomputes the money from the measurements; the measurements themselves are recomputed from
the published artifacts by `openledger.influence`.  Nothing here does I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from eth_account import Account
from eth_account.messages import encode_defunct

from openledger import canonical, names, split, trace
from openledger.money import parse_atomic
from openledger.recover import HALF_ORDER, address_of, personal_digest

VERSION = "openledger.receipt.v4"
WITH_RECORDS = "openledger.receipt.v5"
"""Of an answer to a question with records."""
TIMED = "openledger.receipt.v6"
"""Says when the answer ended, by which its split is known, and who has its trace; with records if there were any."""

_Read = Callable[[dict[str, Any]], dict[str, int]]
_SIGNATURE = re.compile(r"0x[0-9a-f]{64}([0-9a-f]{64})(?:1b|1c)\Z")


@dataclass(frozen=True)
class Model:
    """What answered, by commitments.  For the base model alone `adapter` and `index_root` are empty."""

    base: str
    base_sha256: str
    adapter: str
    index_root: str


@dataclass(frozen=True)
class Receipt:
    """One answer's receipt.

    `developer` and `platform` are the accounts behind those share keys; `developer` is empty for the base model alone.
    `grade` is the SHA-256 of the grade that says why the scores are believed in part; empty where they are believed.
    `end_time` is the trace's; empty in the two earlier versions, which do not say it.
    `published`: whether the trace must be among the artifacts, for everybody; always so in the two earlier versions.
    """

    response: str
    trace_sha256: str
    payer: str
    lease: str
    model: Model
    method: str
    rule: split.Rule
    evidence: split.Evidence
    fee: int
    platform_fee: int
    shares: Mapping[str, int]
    developer: str
    platform: str
    grade: str = ""
    signer: str = ""
    signature: str = ""
    end_time: str = ""
    published: bool = True

    @property
    def version(self) -> str:
        """Of the document."""
        if self.end_time:
            return TIMED
        return VERSION if self.evidence.retrieval is None else WITH_RECORDS

    @property
    def ended(self) -> int | None:
        """Unix seconds, rounded down, at which the answer ended; None where the receipt does not say it."""
        return trace.unix_seconds(self.end_time) if self.end_time else None

    def unsigned(self) -> dict[str, Any]:
        """The document that is signed."""
        e = self.evidence
        some: dict[str, Any] = {} if e.retrieval is None else {"retrieval": _retrieval_to_json(e.retrieval)}
        some |= {"end_time": self.end_time, "published": self.published} if self.end_time else {}
        return some | {
            "version": self.version,
            "response": self.response,
            "trace_sha256": self.trace_sha256,
            "payer": self.payer,
            "lease": self.lease,
            "model": {
                "base": self.model.base,
                "base_sha256": self.model.base_sha256,
                "adapter": self.model.adapter,
                "index_root": self.model.index_root,
            },
            "method": self.method,
            "rule": self.rule.to_json(),
            "evidence": {
                "nll_base": str(e.nll_base),
                "nll_model": str(e.nll_model),
                "scores": {who: str(score) for who, score in e.scores.items()},
                "placebos": [str(p) for p in e.placebos],
                "errors": {who: str(error) for who, error in e.errors.items()},
                "trust_bps": e.trust_bps,
            },
            "grade": self.grade,
            "fee": str(self.fee),
            "platform_fee": str(self.platform_fee),
            "shares": {key: str(amount) for key, amount in self.shares.items()},
            "developer": self.developer,
            "platform": self.platform,
            "signer": self.signer,
        }

    def dumps(self) -> bytes:
        """Canonical bytes of the signed document: what is stored, published and verified."""
        return canonical.dumps(self.unsigned() | {"signature": self.signature})

    def digest(self) -> str:
        """Hex SHA-256 of the signed document."""
        return canonical.sha256(self.dumps())


def sign(receipt: Receipt, private_key: str) -> Receipt:
    """The receipt with signer and signature set."""
    key = Account.from_key(private_key)
    named = Receipt(**{**vars(receipt), "signer": key.address.lower(), "signature": ""})
    signed = key.sign_message(_message(named))
    return Receipt(**{**vars(named), "signature": "0x" + signed.signature.hex().removeprefix("0x")})


def check_signature(receipt: Receipt) -> None:
    """Raises `ValueError` unless the receipt is signed by the signer that it names.

    A signature has one spelling here: any other would make another document, with another SHA-256, that says the same.
    """
    spelling = _SIGNATURE.match(receipt.signature)
    if spelling is None or int(spelling[1], 16) > HALF_ORDER:
        raise ValueError(
            "the signature is not in its one spelling: 65 bytes r, s, v as lower-case hex, low s, v 27 or 28"
        )
    signed = personal_digest(bytes.fromhex(canonical.digest(receipt.unsigned())))
    found = address_of(signed, bytes.fromhex(receipt.signature[2:]))
    if found is None:
        raise ValueError("the signature cannot be read: no key could have made it")
    if found != receipt.signer:
        raise ValueError(f"signed by {found}, not by {receipt.signer}: the receipt was changed after it was signed")


def check_split(receipt: Receipt) -> None:
    """Raises `ValueError` unless the shares are exactly what the rule makes of the evidence and the fee."""
    expected = split.split_fee(receipt.fee, receipt.platform_fee, receipt.evidence, receipt.rule)
    if expected != dict(receipt.shares):
        different = sorted(
            k for k in expected.keys() | receipt.shares.keys() if expected.get(k) != receipt.shares.get(k)
        )
        key = different[0]
        raise ValueError(
            f"the share of {key} is {receipt.shares.get(key, 0)}, the rule gives {expected.get(key, 0)} "
            f"({len(different)} of {len(expected)} shares differ)"
        )


def paid_otherwise(receipt: Receipt, measured: split.Evidence) -> int:
    """Atomic units of the fee that would go to others if it were split by `measured` in place of its own evidence."""
    believed = replace(measured, trust_bps=receipt.evidence.trust_bps)
    shares = split.split_fee(receipt.fee, receipt.platform_fee, believed, receipt.rule)
    return sum(max(0, amount - receipt.shares.get(key, 0)) for key, amount in shares.items())


def _message(receipt: Receipt) -> Any:
    return encode_defunct(primitive=bytes.fromhex(canonical.digest(receipt.unsigned())))


def parse(data: bytes) -> Receipt:
    """A receipt from its canonical bytes.  Raises `ValueError` that says what is wrong with them."""
    try:
        document = canonical.loads(data)
        if document["version"] not in (VERSION, WITH_RECORDS, TIMED):
            raise ValueError(f"not an {VERSION} document, nor an {WITH_RECORDS} or {TIMED}")
        if document["version"] == TIMED:
            trace.unix_seconds(document["end_time"])
            if type(document["published"]) is not bool:
                raise ValueError("whether the trace is published is neither true nor false")
        receipt = _from_json(document, _scores, _integers, _amounts)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a receipt document: {error!r}") from error
    if receipt.dumps() != data:
        raise ValueError("the receipt has fields that do not belong there")
    return receipt


def reread(data: bytes) -> Receipt:
    """A receipt from bytes that `parse` has taken before: a tenth of its time, and their form is not checked again."""
    return _from_json(canonical.parse_json(data), _known, _known, _known)


def _from_json(document: dict[str, Any], scores: _Read, errors: _Read, amounts: _Read) -> Receipt:
    measured = document["evidence"]
    names.match("responses/*", document["response"])
    evidence = split.Evidence(
        nll_base=_integer(measured["nll_base"]),
        nll_model=_integer(measured["nll_model"]),
        scores=scores(measured["scores"]),
        placebos=tuple(_integer(p) for p in measured["placebos"]),
        errors=errors(measured["errors"]),
        trust_bps=_basis_points(measured["trust_bps"]),
        retrieval=_retrieval(document["retrieval"]) if "retrieval" in document else None,
    )
    return Receipt(
        response=document["response"],
        trace_sha256=document["trace_sha256"],
        payer=document["payer"],
        lease=document["lease"],
        model=Model(**document["model"]),
        method=document["method"],
        rule=split.Rule(**document["rule"]),
        evidence=evidence,
        fee=parse_atomic(document["fee"]),
        platform_fee=parse_atomic(document["platform_fee"]),
        shares=amounts(document["shares"]),
        developer=document["developer"],
        platform=document["platform"],
        grade=document["grade"],
        signer=document["signer"],
        signature=document["signature"],
        end_time=document.get("end_time", ""),
        published=document.get("published", True),
    )


def _retrieval_to_json(found: split.Retrieval) -> dict[str, Any]:
    return {
        "nll_base": str(found.nll_base),
        "nll_model": str(found.nll_model),
        "scores": {who: str(score) for who, score in found.scores.items()},
    }


def _retrieval(document: dict[str, Any]) -> split.Retrieval:
    scores = _scores(document["scores"])
    return split.Retrieval(_integer(document["nll_base"]), _integer(document["nll_model"]), scores)


def _scores(document: dict[str, Any]) -> dict[str, int]:
    for who in document:
        if who != names.address(who):
            raise ValueError(f"{who} is not written in lower case")
    return _integers(document)


def _integers(document: dict[str, Any]) -> dict[str, int]:
    return {who: _integer(value) for who, value in document.items()}


def _amounts(document: dict[str, Any]) -> dict[str, int]:
    return {key: parse_atomic(amount) for key, amount in document.items()}


def _known(document: dict[str, Any]) -> dict[str, int]:
    return dict(zip(document, map(int, document.values()), strict=True))


def _basis_points(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{str(value)[:70]!r} is not a whole number of basis points")
    return value


def _integer(text: object) -> int:
    """A signed integer in its one spelling; at most 60 digits, which no score can need."""
    if not isinstance(text, str) or len(text) > 61 or str(int(text)) != text:
        raise ValueError(f"{str(text)[:70]!r} is not a whole number in plain decimal")
    return int(text)
