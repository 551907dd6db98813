"""One error model: domain code raises `Fault`, the edge turns it into a google.rpc.Status that people can act on.

Every reason is UPPER_SNAKE, belongs to one service's domain, and is listed in docs/errors/.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Mapping, Sequence

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status
from sqlalchemy.exc import DBAPIError, OperationalError

DOMAIN = "openledger"


class Fault(Exception):
    """Something a caller must know.  `message` says what was wrong, where, and what to do about it."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        fields: Sequence[tuple[str, str]] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message
        self.metadata, self.fields, self.retry_after = dict(metadata or {}), tuple(fields), retry_after

    def to_status(self, service: str) -> Status:
        """google.rpc.Status with ErrorInfo always, and BadRequest or RetryInfo as they apply."""
        details = [
            error_details_pb2.ErrorInfo(reason=self.reason, domain=f"{service}.{DOMAIN}", metadata=self.metadata)
        ]
        packed = [_pack(details[0])]
        if self.fields:
            violations = [error_details_pb2.BadRequest.FieldViolation(field=f, description=d) for f, d in self.fields]
            packed.append(_pack(error_details_pb2.BadRequest(field_violations=violations)))
        if self.retry_after is not None:
            delay = Duration()
            delay.FromNanoseconds(int(self.retry_after * 1e9))
            packed.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
        return Status(code=self.code.value[0], message=self.message, details=packed)


def _pack(message: object) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def invalid(reason: str, message: str, field: str = "", **metadata: str) -> Fault:
    """The request itself is wrong, whatever the state of the world."""
    fields = [(field, message)] if field else []
    return Fault(grpc.StatusCode.INVALID_ARGUMENT, reason, message, metadata=metadata, fields=fields)


def not_found(reason: str, message: str, **metadata: str) -> Fault:
    """What was named is not there, or not for this caller to see."""
    return Fault(grpc.StatusCode.NOT_FOUND, reason, message, metadata=metadata)


def exists(reason: str, message: str, **metadata: str) -> Fault:
    """What was to be made is there already."""
    return Fault(grpc.StatusCode.ALREADY_EXISTS, reason, message, metadata=metadata)


def denied(reason: str, message: str, **metadata: str) -> Fault:
    """The caller is known, and may not."""
    return Fault(grpc.StatusCode.PERMISSION_DENIED, reason, message, metadata=metadata)


def unauthenticated(reason: str, message: str) -> Fault:
    """The caller is not known."""
    return Fault(grpc.StatusCode.UNAUTHENTICATED, reason, message)


def precondition(reason: str, message: str, **metadata: str) -> Fault:
    """Right request, wrong state of the world; trying again alone will not help."""
    return Fault(grpc.StatusCode.FAILED_PRECONDITION, reason, message, metadata=metadata)


def aborted(reason: str, message: str, **metadata: str) -> Fault:
    """Somebody else changed it meanwhile: read again, then retry."""
    return Fault(grpc.StatusCode.ABORTED, reason, message, metadata=metadata)


def exhausted(reason: str, message: str, retry_after: float, **metadata: str) -> Fault:
    """Too much at once; the same request may pass after `retry_after` seconds."""
    return Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, reason, message, metadata=metadata, retry_after=retry_after)


def unavailable(reason: str, message: str, retry_after: float, **metadata: str) -> Fault:
    """Something this service needs is away; the same request may pass later."""
    return Fault(grpc.StatusCode.UNAVAILABLE, reason, message, metadata=metadata, retry_after=retry_after)


def from_exception(error: BaseException) -> Fault:
    """The fault that stands for an exception nobody turned into one.  Says nothing of its inside."""
    if isinstance(error, Fault):
        return error
    if _disk_full(error):
        return exhausted("DISK_FULL", "the service's disk is full; nothing of this request was stored", retry_after=30)
    if isinstance(error, OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return unavailable("DATABASE_UNAVAILABLE", "the service's database cannot be reached", retry_after=5)
    if isinstance(error, TimeoutError):
        return Fault(grpc.StatusCode.DEADLINE_EXCEEDED, "TOO_SLOW", "the request took longer than it may")
    return Fault(grpc.StatusCode.INTERNAL, "INTERNAL", "an error on our side; it was logged under the request id")


def _disk_full(error: BaseException) -> bool:
    cause = error.orig if isinstance(error, OperationalError) else error
    if isinstance(cause, sqlite3.OperationalError):
        return getattr(cause, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL
    if getattr(cause, "sqlstate", None) == "53100":
        return True
    return isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT}
