"""The verb "confirm": a contributor's word on a record of its own in which personal data was found.

As given, the record itself is accepted.  As suggested, another record is, since what a record says never changes under
its name, and the one that waited is erased.  So it is when it is not confirmed.  What comes in is looked at as any that
is given now: a datanet's rules may have changed while it waited.
"""

from __future__ import annotations

from collections.abc import Sequence

from openledger import merkle, records
from services.datanet import admit, declare
from services.datanet.declare import Declaration
from services.datanet.draft import Draft
from services.datanet.members import Standing
from services.datanet.model import Content, Datanet, Record, RecordState
from services.datanet.screen import Finding
from services.datanet.verdict import Verdict, verdict
from services.kit.errors import denied, invalid, precondition


def check_waits(at: Standing, record: Record) -> None:
    """Raises `Fault` unless the record waits for the caller's word."""
    if at.caller.address != record.contributor:
        raise denied("NOT_YOURS", f"{record.name} is its contributor's to confirm")
    if record.state is not RecordState.SCREENED:
        raise precondition("RECORD_DOES_NOT_WAIT", f"{record.name} is {record.state.value}, and waits for no word")


def draft(content: Content, masked: bool) -> Draft:
    """What is taken."""
    return Draft(0, content.suggested or {} if masked else content.fields, content.source)


def check_declared(declaration: Declaration, datanet: Datanet, taken: Draft) -> bytes:
    """The canonical bytes of what is taken.  Raises `Fault` unless its contributor signed for exactly them."""
    declare.check_signed(declaration, datanet)
    canonical = records.canonical_bytes(declaration.contributor, taken.fields, taken.source)
    declare.check_content(declaration, 1, merkle.root_of_hashes([merkle.leaf_hash(canonical)]))
    return canonical


def check_as_given(datanet: Datanet, taken: Draft, findings: Sequence[Finding]) -> None:
    """Raises `Fault` unless the datanet takes the record as any other that is given now, its personal data apart."""
    refusal = admit.refusal(datanet.definition, taken.fields, taken.source)
    what, why = verdict(findings, datanet.definition.policy)
    against = refusal or (why if what is Verdict.REFUSE else None)
    if against is not None:
        raise precondition(
            against.reason,
            f"as given {datanet.name} does not take the record any more: {against.message}. Confirm it as suggested, "
            "or take it back",
        )


def check_as_suggested(datanet: Datanet, taken: Draft, findings: Sequence[Finding]) -> None:
    """Raises `Fault` unless the suggestion stands by itself."""
    refusal = admit.refusal(datanet.definition, taken.fields, taken.source)
    if refusal is not None:
        raise invalid(refusal.reason, f"as suggested the record is not taken: {refusal.message}", "masked")
    what, why = verdict(findings, datanet.definition.policy)
    if what is not Verdict.TAKE and why is not None:
        raise invalid(
            why.reason,
            f"as suggested the record is not taken: {why.message}. Take it back, and give it anew without",
            "masked",
        )
