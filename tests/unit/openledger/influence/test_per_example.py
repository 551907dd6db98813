from __future__ import annotations

import pytest
import torch

from openledger.influence.decoder import Decoder
from openledger.influence.lora import Adapter, attached
from openledger.influence.per_example import PerExampleGradients


def test_each_row_is_the_plain_gradient_of_its_example(decoder: Decoder, adapter: Adapter) -> None:
    ids = torch.randint(0, 260, (4, 11), generator=torch.Generator().manual_seed(1))
    with attached(decoder.model, adapter) as maps, PerExampleGradients(maps) as taps:
        losses = decoder.head(decoder.upper(decoder.trunk(ids, 2), 2)).square().mean((1, 2))
        rows = taps.gradients(losses.sum(), keep_graph=True)
        again = taps.gradients(losses, torch.tensor([0.0, 2.0, 0.0, 0.0]), keep_graph=True)
        weights = [linear.weight for linear in maps.values()]
        plain = [torch.autograd.grad(loss, weights, retain_graph=True) for loss in losses]
    assert taps.parameters == adapter.parameters
    for row, gradients in zip(rows, plain, strict=True):
        expected = torch.cat([gradient.flatten() for gradient in gradients])
        assert float(expected.abs().max()) > 1e-3
        assert torch.allclose(row, expected, rtol=1e-4, atol=1e-6)
    assert torch.allclose(again[1], 2 * rows[1], rtol=1e-4, atol=1e-6)
    assert float(again[[0, 2, 3]].abs().max()) == 0.0


def test_hooks_are_gone_afterwards(decoder: Decoder, adapter: Adapter) -> None:
    with attached(decoder.model, adapter) as maps:
        with PerExampleGradients(maps) as taps:
            pass
        assert all(not linear._forward_hooks for linear in maps.values())
        output = decoder.upper(decoder.trunk(torch.tensor([[1, 2]]), 2), 2)
        with pytest.raises(KeyError):
            taps.gradients(output, torch.zeros_like(output))
