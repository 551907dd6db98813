"""Checks what operators signed to take answers back: each names one journal of this ledger, and its signer."""

from __future__ import annotations

from openledger.epoch import documents
from openledger.epoch.case import Case
from openledger.epoch.report import Wrong

_FIELDS = frozenset({"version", "chain_id", "distributor", "journal", "reason", "signer", "signature"})
_VERSION = "openledger.correction.v1"


def corrections(case: Case) -> str:
    """They are signed, of this ledger, and no journal has two."""
    manifest, found = case.given.manifest, {}
    for document in manifest.corrections:
        if document.keys() != _FIELDS or document["version"] != _VERSION:
            raise Wrong(f"a correction has the fields {', '.join(sorted(document))}, and is none")
        journal = document["journal"]
        try:
            documents.check_signature(document)
        except ValueError as error:
            raise Wrong(f"the correction of {journal}: {error}") from error
        if (document["chain_id"], document["distributor"]) != (str(manifest.chain_id), manifest.distributor):
            raise Wrong(f"the correction of {journal} is of another ledger")
        if journal in found:
            raise Wrong(f"{journal} was taken back twice")
        found[journal] = document
    case.corrected = found
    if not found:
        return "no answer was taken back"
    signers = ", ".join(sorted({document["signer"] for document in found.values()}))
    return f"{len(found)} answers were taken back, each by a reason that is signed: by {signers}"
