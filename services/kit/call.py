"""The call in hand: its id and its caller, for whoever is inside it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from services.kit.auth import ANYONE, Principal
from services.kit.errors import denied


@dataclass(frozen=True)
class Call:
    """One RPC on the server side."""

    method: str
    request_id: str
    principal: Principal


_NO_CALL = Call("", "", ANYONE)
_current: ContextVar[Call] = ContextVar("openledger_call", default=_NO_CALL)


def current() -> Call:
    """The call that the running task serves."""
    return _current.get()


def enter(call: Call) -> None:
    """Used by the interceptor alone."""
    _current.set(call)


def principal() -> Principal:
    """Its caller."""
    return _current.get().principal


def must_be(address: str) -> None:
    """Raises `Fault` unless the caller is the account with that lower-case address."""
    if _current.get().principal.address != address:
        raise denied("NOT_YOURS", f"this is for accounts/{address} alone")
