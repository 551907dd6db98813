"""An index that is larger than the memory there is: scored and checked from disk, a piece at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import resource, sys
from pathlib import Path
import numpy as np
from openledger.influence import index, score
from openledger.influence.parameters import Parameter
from openledger.influence.quantize import quantise

file, rows, width = Path(sys.argv[1]), 1_500, 1 << 20
header = index.Header((Parameter("a", (width,)),), tuple(f"0x{n:040x}" for n in range(rows)), 0)
prefix = index._prefix(header)
with file.open("wb") as out:  # zeros that take no room on disk
    out.write(prefix)
    out.truncate(len(prefix) + rows * (width + 1))
    out.seek(len(prefix) + rows * 1 + (rows - 1) * width)
    out.write(b"\\x02")
gradient = quantise(np.full(width, 1.0), (width,))
held = int(next(l for l in open("/proc/self/status") if l.startswith("VmData")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (held + 96 * 2**20,) * 2)
opened = index.ContributionIndex.open(file)
scores = score.scores(gradient, opened).contributors
assert [who for who, value in scores.items() if value] == [header.contributors[-1]]
print(scores[header.contributors[-1]] < 0, len(index.root(opened)))
"""


@pytest.mark.slow
def test_it_is_scored_and_its_root_computed_with_little_memory(tmp_path: Path) -> None:
    """1.5 GB with 96 MB to spare; pages of the file itself can be dropped at any time and do not count."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "index.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["True", "32"]
