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
from services.datanet.model import PersonalData, Policy
from services.datanet.screen import Check

CHECKS: tuple[Check, ...] = (Language(), Quality(), Personal(), Secrets())


def lacking(policy: Policy) -> list[str]:
    """Packages that this machine lacks to hold a datanet's records to that policy: without them nothing is checked."""
    needed = ["py3langid"] if policy.languages else []
    if policy.personal_data is not PersonalData.IGNORE:
        needed += ["presidio_analyzer", "spacy", names.MODEL, "py3langid"]
    return [package for package in dict.fromkeys(needed) if find_spec(package) is None]
