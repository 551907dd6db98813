"""The verb "declare": whether a contributor's signed word covers what was sent."""

from __future__ import annotations

from dataclasses import dataclass

from openledger import signing
from services.datanet.model import Datanet
from services.datanet.text import control_character
from services.kit.errors import Fault, denied, invalid

MISMATCH = "DECLARATION_MISMATCH"


@dataclass(frozen=True)
class Declaration:
    """What a contributor signed.  `datanet` is an id, `contributor` a lower-case address."""

    datanet: str
    contributor: str
    content_root: bytes
    record_count: int
    licence: str
    statement: str
    request_id: str
    signature: bytes


def check_signed(declaration: Declaration, datanet: Datanet) -> None:
    """Raises `Fault` unless the contributor signed this declaration, and for this datanet's licence."""
    if control_character(declaration.statement) is not None:
        raise invalid("INVALID_FIELD", "declaration.statement: has control characters", "header.declaration.statement")
    if len(declaration.content_root) != 32:
        raise invalid("INVALID_FIELD", "declaration.content_root: must be 32 bytes", "header.declaration.content_root")
    check_licence(declaration, datanet)
    signer = _signer(declaration)
    if signer != declaration.contributor:
        raise denied(
            "WRONG_SIGNER",
            f"the declaration names accounts/{declaration.contributor}, but accounts/{signer} signed it, or something "
            "in it was changed after signing. Sign it with the contributor's own wallet",
            signer=signer,
        )


def check_licence(declaration: Declaration, datanet: Datanet) -> None:
    """Raises `Fault` unless the declared licence is the datanet's."""
    if declaration.licence != datanet.definition.licence:
        raise mismatch(
            f"it gives the records under {declaration.licence[:100]!r}, but {datanet.name} takes them under "
            f"{datanet.definition.licence}"
        )


def check_content(declaration: Declaration, received: int, root: bytes) -> None:
    """Raises `Fault` unless exactly the declared records were sent."""
    if received != declaration.record_count:
        raise mismatch(f"it is about {declaration.record_count} records, but {received} were sent")
    if root != declaration.content_root:
        raise mismatch(
            f"its content_root is {declaration.content_root.hex()}, but that of the records sent is {root.hex()} "
            "(RFC 6962 over the canonical bytes of openledger/records.py, in the order of the upload)"
        )


def mismatch(what: str) -> Fault:
    """The refusal of a whole upload whose declaration is about something else."""
    return invalid(
        MISMATCH,
        f"the declaration does not fit: {what}. Nothing was taken; declare what is sent, sign it and send it again",
        "header.declaration",
    )


def _signer(declaration: Declaration) -> str:
    typed = signing.declaration(
        f"datanets/{declaration.datanet}",
        declaration.contributor,
        declaration.content_root,
        declaration.record_count,
        declaration.licence,
        declaration.statement,
        declaration.request_id,
    )
    try:
        return signing.recover(typed, declaration.signature)
    except ValueError as error:
        raise invalid(
            "BAD_SIGNATURE",
            f"declaration.signature: {error}. It must be the 65 bytes of an EIP-712 signature of the declaration",
            "header.declaration.signature",
        ) from None
