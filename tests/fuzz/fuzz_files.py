"""Has atheris think of files, and looks whether what holds of any file holds of them.

python -m tests.fuzz.fuzz_files a.pdf -max_total_time=20       the name says which reader; the rest is libFuzzer's
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["services.datanet.files", "pypdf", "docx"]):
    from tests.file_rules import WHOLE, check


def main() -> None:
    """Ends with a status of its own when something does not hold, having written the file that it does not hold of."""
    name = sys.argv.pop(1)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "whole").write_bytes(WHOLE[name])
        atheris.Setup([*sys.argv, folder], lambda data: check(data, name))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
