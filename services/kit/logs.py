"""Structured logs: one JSON object a line on stderr, with the request id of the call in hand.

Fields: time, level, event, service, request_id, caller, and what the event adds.  Never tokens, keys or record texts.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from services.kit import call


def configure(level: str) -> None:
    """Set up logging for this process."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _call_fields,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def logger(service: str) -> Any:
    """A logger whose lines carry the service's name."""
    # Not bound before its first use: a module may ask for its logger before the process has configured logging.
    return structlog.get_logger(service=service)


def told(service: str, event: str, **fields: Any) -> None:
    """Log what an operator must find whatever the level: with what configuration a service started."""
    always = structlog.make_filtering_bound_logger(logging.INFO)
    structlog.wrap_logger(structlog.PrintLogger(sys.stderr), wrapper_class=always, service=service).info(
        event, **fields
    )


def _call_fields(_: Any, __: str, event: Any) -> Any:
    current = call.current()
    if current.request_id:
        event.setdefault("request_id", current.request_id)
        event.setdefault("caller", current.principal.name)
    return event
