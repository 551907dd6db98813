"""How likely completions are under a base model and under the same model tuned, in one pass over both.

The frozen trunk runs once for the two of them.  Float32, whatever precision was trained in.  This module does not know
why the completions are of interest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from openledger.influence.curvature import ROWS
from openledger.influence.decoder import Decoder
from openledger.influence.lora import Adapter, attached
from services.factory.data import Example
from services.factory.evaluation.budget import batches
from services.factory.evaluation.interval import Floats
from services.factory.passes import CHUNK_TOKENS

OnWork = Callable[[], None]
"""Called every second or so; may raise to end the evaluation."""


@dataclass(frozen=True, eq=False)
class Likelihood:
    """Of n completions, each given its prompt.  Without an adapter, after is before."""

    loss_before: Floats
    """[n]: mean NLL, nats per token."""
    loss_after: Floats
    accuracy_before: Floats
    """[n]: share of tokens that are the model's first choice, given the true tokens before them."""
    accuracy_after: Floats

    @property
    def finite(self) -> npt.NDArray[np.bool_]:
        """[n]: whether both losses are finite numbers."""
        return np.isfinite(self.loss_before) & np.isfinite(self.loss_after)

    @property
    def loss_change(self) -> Floats:
        """[n]: below zero where tuning helped."""
        return self.loss_after - self.loss_before

    def take(self, chosen: npt.NDArray[np.bool_]) -> Likelihood:
        """Some of the completions."""
        columns = (self.loss_before, self.loss_after, self.accuracy_before, self.accuracy_after)
        return Likelihood(*(column[chosen] for column in columns))


def measurable(decoder: Decoder, examples: Sequence[Example]) -> list[Example]:
    """Those with something to predict, something to predict it from, and room for both in the model's context."""
    return [e for e in examples if e.prompt and e.completion and e.length <= decoder.context]


def measure(
    decoder: Decoder, adapter: Adapter | None, examples: Sequence[Example], on_work: OnWork = lambda: None
) -> Likelihood:
    """Losses and accuracies of measurable examples, before and after.  Raises AdapterError where it does not fit."""
    first = min(adapter.config.layers) if adapter else decoder.layers
    columns = np.empty((4, len(examples)))
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        for group in batches([example.length for example in examples], CHUNK_TOKENS):
            chosen = [examples[i] for i in group]
            trunk = decoder.trunk(_padded(chosen), first)
            columns[0:2, group] = columns[2:4, group] = _score(decoder, decoder.upper(trunk, first), chosen)
            if adapter:
                with attached(decoder.model, adapter):
                    columns[2:4, group] = _score(decoder, decoder.upper(trunk, first), chosen)
            on_work()
    return Likelihood(columns[0], columns[2], columns[1], columns[3])


def _score(decoder: Decoder, output: Tensor, examples: Sequence[Example]) -> Floats:
    """[2, b]: mean loss and accuracy of each completion, from the decoder's output [b, T, width]."""
    counts = torch.tensor([len(example.completion) for example in examples])
    rows = torch.repeat_interleave(torch.arange(len(examples)), counts)
    columns = torch.cat([torch.arange(len(e.prompt) - 1, e.length - 1) for e in examples])
    hidden = output[rows, columns]
    targets = torch.tensor([token for example in examples for token in example.completion])
    figures = torch.empty(2, len(targets), dtype=torch.float64)
    for part in map(slice, range(0, len(targets), ROWS), range(ROWS, len(targets) + ROWS, ROWS)):
        logits = decoder.head(hidden[part])
        chosen = logits.gather(1, targets[part, None])[:, 0]
        figures[0, part] = (torch.logsumexp(logits, dim=1) - chosen).double()
        figures[1, part] = (logits.argmax(dim=1) == targets[part]).double()
    means = [part.mean(dim=1) for part in torch.split(figures, counts.tolist(), dim=1)]
    return np.asarray(torch.stack(means, dim=1).numpy())


def _padded(examples: Sequence[Example]) -> Tensor:
    """Token ids [b, T], padded on the right, where nothing real attends to them."""
    rows = [torch.tensor([*example.prompt, *example.completion]) for example in examples]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
