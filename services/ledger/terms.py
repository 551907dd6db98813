"""From settings to the terms that contracts are made with: the service's and those of the deployment command alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.ledger.deploy import Terms

SETTINGS = (
    "treasury",
    "guardian",
    "arbiter",
    "supply",
    "challenge_window_seconds",
    "verdict_seconds",
    "challenge_bond",
    "max_epoch_increase",
    "withdraw_delay_seconds",
    "split_delay_seconds",
)
"""Names of `LedgerConfig`."""


def terms_of(settings: Mapping[str, Any], sender: str) -> Terms:
    """The terms; `sender` is the ledger's account, which has every role that nobody else is named for."""
    guardian = settings["guardian"] or sender
    return Terms(
        treasury=settings["treasury"] or sender,
        supply=settings["supply"],
        cap=settings["supply"],
        proposer=sender,
        guardian=guardian,
        arbiter=settings["arbiter"] or guardian,
        operator=sender,
        committer=sender,
        challenge_window=settings["challenge_window_seconds"],
        verdict_window=settings["verdict_seconds"],
        challenge_bond=settings["challenge_bond"],
        max_epoch_increase=settings["max_epoch_increase"],
        withdraw_delay=settings["withdraw_delay_seconds"],
        split_delay=settings["split_delay_seconds"],
    )
