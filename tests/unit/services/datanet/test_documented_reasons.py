from __future__ import annotations

import re
from pathlib import Path

import services.datanet

SERVICE = Path(services.datanet.__file__).parent
ROOT = SERVICE.parents[1]
_RAISED = re.compile(
    r'(?:invalid|not_found|exists|denied|precondition|aborted|exhausted|unavailable|Refusal)\(\s*"([A-Z_]+)"'
)


def test_every_reason_is_documented_and_every_documented_reason_exists():
    source = "\n".join(file.read_text() for file in SERVICE.glob("*.py"))
    raised = set(_RAISED.findall(source)) | set(re.findall(r'reason="([A-Z_]+)"', source))
    documented = set(re.findall(r"^\| `([A-Z_]+)`", (ROOT / "docs/errors/datanet.md").read_text(), re.MULTILINE))
    assert raised == documented
    assert len(raised) > 20
