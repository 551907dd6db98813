"""Long answers: attention in blocks is attention, and its memory does not grow with the square of the tokens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from openledger.influence import long_attention
from openledger.influence.gradient import Scorer
from openledger.influence.long_attention import ROWS, WHOLE, attention_over
from openledger.influence.quantize import NAT, agreement
from tests import tiny_model
from tests.unit.openledger.influence.conftest import write

PROGRAM = """
import resource, sys
from pathlib import Path
from openledger.influence.gradient import Scorer

scorer, tokens = Scorer(Path(sys.argv[1])), int(sys.argv[3])
ids = [5 + (7 * n) % 250 for n in range(tokens)]
scorer.answer(Path(sys.argv[2]), ids[:8], ids[8:64])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
scorer.answer(Path(sys.argv[2]), ids[:8], ids[8:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.fixture
def given():
    """Four query heads on two of keys, more tokens than are taken at once and no whole number of blocks."""
    draw = torch.Generator().manual_seed(0)
    tokens = WHOLE + ROWS + 3
    return [
        torch.randn(1, heads, tokens, 8, generator=draw, requires_grad=True, dtype=torch.float64) for heads in (4, 2, 2)
    ]


def windowed(tokens, window=700):
    distance = torch.arange(tokens)[:, None] - torch.arange(tokens)
    return ((distance >= 0) & (distance < window))[None, None]


@pytest.mark.parametrize("how", ("causal", "window"))
def test_values_and_gradients_are_those_of_attention(given, how):
    tokens = given[0].shape[-2]
    more = {"is_causal": True} if how == "causal" else {"attn_mask": windowed(tokens)}
    found = []
    for context in (attention_over(0), attention_over(tokens)):
        with sdpa_kernel(SDPBackend.MATH), context:
            value = scaled_dot_product_attention(*given, enable_gqa=True, scale=0.3, **more)
            found.append((value, *torch.autograd.grad((value**2).sum(), given)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_without_a_gradient_nothing_is_kept_and_the_values_are_the_same(given):
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        whole = scaled_dot_product_attention(*given, enable_gqa=True, is_causal=True)
        with attention_over(given[0].shape[-2]):
            parts = scaled_dot_product_attention(*given, enable_gqa=True, is_causal=True)
    torch.testing.assert_close(whole, parts, rtol=1e-9, atol=1e-12)


def test_an_answers_gradient_in_blocks_is_that_of_the_whole(base, adapter_folder, monkeypatch):
    ids = [5 + (7 * n) % 250 for n in range(400)]
    whole = Scorer(base).answer(adapter_folder, ids[:10], ids[10:])
    monkeypatch.setattr(long_attention, "WHOLE", 100)
    monkeypatch.setattr(long_attention, "ROWS", 64)
    parts = Scorer(base).answer(adapter_folder, ids[:10], ids[10:])
    assert parts.nll_adapter / NAT == pytest.approx(whole.nll_adapter / NAT, abs=1e-5)
    assert parts.nll_base / NAT == pytest.approx(whole.nll_base / NAT, abs=1e-5)
    assert agreement(parts.gradient, whole.gradient) > 0.999


@pytest.mark.slow
def test_an_answer_of_8192_tokens_is_measured_with_little_memory(adapter, tmp_path: Path) -> None:
    """At once, two heads' weights are 537 MB a layer, and several such tables are held at a time."""
    base = tiny_model.make(tmp_path / "base", context=8192)
    folder = tmp_path / "adapter"
    folder.mkdir()
    command = [sys.executable, "-c", PROGRAM, str(base), str(write(adapter, folder)), "8192"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < 500_000, "kilobytes"
