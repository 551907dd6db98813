"""The verbs "withdraw" and "erase": who may end a record's use, or have it destroyed, and what is said of both.

Withdrawn, a record is in no later snapshot; what was made of it stays, and its contributor goes on seeing it.  Erased,
nothing of what it says is left: see `store_erasures` for what goes at once, `erasing` for what follows.
"""

from __future__ import annotations

from openledger.datanet.v1 import datanet_pb2
from services.datanet.members import Standing
from services.datanet.model import Record, RecordState
from services.datanet.text import control_character
from services.kit.errors import denied, invalid, precondition
from services.kit.operations import operation_name

DESTROYING, TELLING, DESTROYED = "destroying", "telling", "destroyed"
BY_CONTRIBUTOR, BY_OWNER = "erased by its contributor", "erased by the datanet's owner, on a demand"
"""What others are told of why; what was said to the Datanet is its own."""


def check_withdrawal(at: Standing, record: Record, reason: str) -> None:
    """Raises `Fault` unless the caller may withdraw the record: its contributor, or the datanet's owner."""
    _check(at, record, reason)
    if record.state is RecordState.SCREENED:
        raise precondition("RECORD_WAITS", f"{record.name} waits for its contributor's word: confirm it, or erase it")
    if record.state is RecordState.WITHDRAWN:
        raise precondition("RECORD_WITHDRAWN", f"{record.name} is withdrawn already")


def check_erasure(at: Standing, record: Record, reason: str) -> None:
    """Raises `Fault` unless the caller may have it erased: its contributor, or the datanet's owner who says why."""
    _check(at, record, reason)
    if not reason.strip() and at.caller.address != record.contributor:
        raise invalid(
            "REASON_MISSING",
            f"reason: {record.name} is another's; say on whose demand, and why, it must be destroyed",
            "reason",
        )


def told(at: Standing, record: Record) -> str:
    """Why it is erased, for those who trained on it."""
    return BY_CONTRIBUTOR if at.caller.address == record.contributor else BY_OWNER


def operation(record: Record) -> str:
    """The name of its erasure's."""
    return operation_name("erase", record.id)


def progress(record: str, phase: str) -> datanet_pb2.ErasureProgress:
    """An operation's metadata.  record: its name."""
    return datanet_pb2.ErasureProgress(record=record, phase=phase)


def _check(at: Standing, record: Record, reason: str) -> None:
    if not at.owns and at.caller.address != record.contributor:
        raise denied("NOT_YOURS", f"{record.name} is its contributor's, and the datanet's owner's, to take back")
    found = control_character(reason)
    if found is not None:
        raise invalid("INVALID_FIELD", f"reason: has the control character {found}", "reason")
    if record.state is RecordState.ERASED:
        message = f"{record.name} is erased: nothing of it is left"
        raise precondition("RECORD_ERASED", message, operation=operation(record))
