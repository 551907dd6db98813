"""A vault as earlier versions had it: records' keys are wrapped under its secret alone."""

from __future__ import annotations

from pathlib import Path

from services.datanet.shares import Shares
from services.datanet.vault import Vault


class _NoShares(Shares):
    def take(self) -> tuple[bytes, bytes]:
        return b"", b""


def before_shares(secret: bytes = b"k" * 32) -> Vault:
    """What it seals opens with the secret, wherever it is.  Also for tests that want no folder."""
    return Vault(secret, _NoShares(Path("there-are-none")))
