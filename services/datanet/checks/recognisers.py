"""Presidio's recognisers where they have to be ours: e-mail without a call to the network, and wallets of other chains.

Imports Presidio, which takes seconds: only `patterns` imports this, when it is first asked.
"""

from __future__ import annotations

import re

from presidio_analyzer import Pattern
from presidio_analyzer.predefined_recognizers import CryptoRecognizer, EmailRecognizer
from tldextract import TLDExtract

_DOMAINS = TLDExtract(suffix_list_urls=(), cache_dir=None)
"""The list of public suffixes inside the package; tldextract's own default fetches a newer one."""


class Email(EmailRecognizer):  # type: ignore[misc]
    """Whatever is of the form and ends in a public suffix."""

    def validate_result(self, pattern_text: str) -> bool:
        return bool(_DOMAINS(pattern_text).suffix)


class Wallet(CryptoRecognizer):  # type: ignore[misc]
    """Of Ethereum (20 bytes in hex), of Bitcoin (base58), and of any chain in Bech32, whose check digits are right."""

    PATTERNS = [  # noqa: RUF012
        Pattern("hex", r"(?<![0-9A-Za-z])0x[0-9a-f]{40}(?![0-9A-Za-z])", 0.9),
        Pattern("bech32", r"(?<![0-9A-Za-z])[a-z]{2,12}1[02-9ac-hj-np-z]{38,75}(?![0-9A-Za-z])", 0.5),
        Pattern("base58", r"(?<![0-9A-Za-z])[13][1-9A-HJ-NP-Za-km-z]{25,34}(?![0-9A-Za-z])", 0.5),
    ]

    def validate_result(self, pattern_text: str) -> bool:
        if re.match("0x", pattern_text, re.IGNORECASE):
            return True
        if pattern_text[0] in "13":
            return bool(super().validate_result(pattern_text))
        return bool(self.validate_bech32_address(pattern_text)[0])
