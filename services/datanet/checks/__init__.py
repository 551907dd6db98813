"""What is looked for in a record of text, in this order; what needs the database (`evaluation.py`) its caller adds.

The checks are cheap to make and load their models when they first look: seconds, so they look in workers.
"""

from __future__ import annotations

from importlib.util import find_spec

from services.datanet.checks import names
from services.datanet.checks.language import Language
from services.datanet.checks.personal import Personal
from services.datanet.checks.quality import Quality
from services.datanet.checks.secrets import Secrets
from services.datanet.screen import Check

CHECKS: tuple[Check, ...] = (Language(), Quality(), Personal(), Secrets())


def lacking() -> list[str]:
    """Packages that this machine lacks: without all of them no worker starts, and nothing is checked."""
    return [package for package in ("presidio_analyzer", "spacy", names.MODEL, "py3langid") if not find_spec(package)]
