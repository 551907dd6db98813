"""OpenLoRA with a trace log that keeps nothing: what tracing costs, and nothing that may ever be served with.

Run as `python -m services.openlora` is.  Traces are made, for an answer's account has their digest and their fee; they
are not sealed, not written down, and not looked for under a request's id.
"""

from __future__ import annotations

import itertools
import sys

from openledger.trace import Trace
from services.kit.config import load_or_exit
from services.kit.server import main
from services.openlora.__main__ import assemble
from services.openlora.config import OpenLoRAConfig
from services.openlora.tracelog import TraceLog

_OFFSETS = itertools.count(1)


async def keep_nothing(_: TraceLog, __: Trace) -> int:
    """In place of `TraceLog.append`."""
    return next(_OFFSETS)


async def find_nothing(_: TraceLog, __: str) -> None:
    """In place of `TraceLog.get`."""


if __name__ == "__main__":
    TraceLog.append = keep_nothing  # type: ignore[method-assign]
    TraceLog.get = find_nothing  # type: ignore[method-assign,assignment]
    sys.exit(main(load_or_exit(OpenLoRAConfig), assemble))
