"""Models that are read at once are read as they are, and so are those that come later."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch

from openledger import pretrained
from tests import tiny_model


def test_reading_at_once_spoils_nothing(tmp_path):
    folder = tiny_model.make(tmp_path / "base", layers=2)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: pretrained.causal_lm(folder, dtype=torch.float32), range(24)))
    model, found = pretrained.causal_lm(folder, dtype=torch.float32, output_loading_info=True)
    assert not found["missing_keys"]
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
