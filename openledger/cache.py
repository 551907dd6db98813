"""Where what can be made or downloaded again is kept: in one place for all that runs from one installation."""

from __future__ import annotations

import os
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]


def cache_folder(part: str) -> Path:
    """The folder of that part, made if it is not there.

    In $OPENLEDGER_CACHE where that is set; in a checkout in its .cache, as set-up does; else in ~/.cache/openledger.
    """
    named = os.environ.get("OPENLEDGER_CACHE")
    checkout = (_ROOT / "tools" / "setup.py").is_file()
    root = Path(named) if named else _ROOT / ".cache" if checkout else Path.home() / ".cache" / "openledger"
    folder = root.resolve() / part
    folder.mkdir(parents=True, exist_ok=True)
    return folder
