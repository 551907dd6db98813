"""The canonical gradient of an answer: what a service publishes and what a stranger recomputes.

Teacher-forced mean negative log-likelihood of the answer's tokens given the prompt's; its gradient with respect to
the adapter's weights, quantised; and the same loss under the bare base model. Float32, CPU, math attention (of long
answers a block at a time), one answer at a time, no padding, explicit order: two runs on one machine are equal bit for
bit, two machines agree up to the rounding of their matrix products (see ``quantize.agreement``). DoRA's training takes
the lengths of its rows as constant; here they are not, for the loss itself knows no such thing. This module does not
know contributors or money.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from openledger.influence.curvature import head_pass, token_losses
from openledger.influence.decoder import Decoder
from openledger.influence.dora import Decomposed
from openledger.influence.long_attention import attention_over
from openledger.influence.lora import Adapter, attached, decomposed
from openledger.influence.parameters import Parameter, sizes
from openledger.influence.quantize import Quantised, QuantizeError, quantise, to_units


class AnswerError(ValueError):
    """An answer cannot be scored. The message says why."""


class EmptyAnswer(AnswerError):
    """There is no answer token to explain, or no prompt token to predict the first one from."""


class UnknownToken(AnswerError):
    """A token id lies outside the base model's vocabulary."""


class AnswerTooLong(AnswerError):
    """Prompt and answer exceed the base model's context."""


class NotFinite(AnswerError):
    """The loss or its gradient is NaN or infinite."""


@dataclass(frozen=True, eq=False)
class AnswerGradient:
    """What one answer says about an adapter's weights."""

    gradient: Quantised
    """Of the mean NLL per answer token, with respect to the adapter's parameter vector."""
    nll_adapter: int
    """That mean under base and adapter, in 2**-64 nat."""
    nll_base: int
    """The same under the base alone."""
    tokens: int
    """Answer tokens."""


class Scorer:
    """One base model in memory, and the adapters used last. Thread-safe: answers are taken one at a time."""

    def __init__(self, base: Path, max_adapters: int = 8) -> None:
        """base: a base model folder (raises BaseModelError); max_adapters: how many adapters to keep loaded."""
        self._base, self._decoder = base, Decoder.load(base)
        self._adapters: OrderedDict[Path, Adapter] = OrderedDict()
        self._max_adapters = max_adapters
        self._lock = threading.Lock()

    def parameters(self, adapter: Path) -> tuple[Parameter, ...]:
        """Layout of an adapter's parameter vector. Raises AdapterError."""
        with self._lock:
            return self._adapter(adapter).parameters

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, in which control tokens are text like any other."""
        from openledger.base_tokenizer import encoder

        return encoder(self._base)(text)

    def answer(self, adapter: Path, prompt: Sequence[int], completion: Sequence[int]) -> AnswerGradient:
        """The canonical gradient of one answer by one adapter (a PEFT folder whose content never changes).

        prompt, completion: token ids. Raises AnswerError for an answer that cannot be scored, AdapterError for a bad
        adapter.
        """
        self._check(prompt, completion)
        with self._alone(len(prompt) + len(completion)):
            weights = self._adapter(adapter)
            first = min(weights.config.layers)
            ids = torch.tensor([[*prompt, *completion]], dtype=torch.int64)
            trunk = self._decoder.trunk(ids, first)
            nll_base = self._forward_loss(trunk, first, ids, len(completion))
            whole = decomposed(self._decoder.model, weights)
            with attached(self._decoder.model, weights) as maps:
                hidden = self._decoder.upper(trunk, first)
                nll, cotangent = self._loss(hidden, ids, len(completion))
                grads = torch.autograd.grad(hidden, [linear.weight for linear in maps.values()], cotangent)
            vector = _vector(grads, whole)
        if not all(map(_finite, (nll, nll_base, vector))):
            raise NotFinite("the loss or the gradient of this answer is not finite: the adapter or the base is damaged")
        gradient = quantise(vector.numpy(), sizes(weights.parameters))
        return AnswerGradient(gradient, to_units(float(nll)), to_units(float(nll_base)), len(completion))

    def base_loss(self, prompt: Sequence[int], completion: Sequence[int]) -> int:
        """Mean NLL per answer token under the base alone, in 2**-64 nat.

        All there is to say of an answer that no adapter gave. Raises AnswerError.
        """
        self._check(prompt, completion)
        with self._alone(len(prompt) + len(completion)):
            ids = torch.tensor([[*prompt, *completion]], dtype=torch.int64)
            nll = self._forward_loss(self._decoder.trunk(ids, 0), 0, ids, len(completion))
        if not _finite(nll):
            raise NotFinite("the loss of this answer is not finite: the base is damaged")
        return to_units(float(nll))

    def loss(self, adapter: Path | None, prompt: Sequence[int], completion: Sequence[int]) -> int:
        """Mean NLL per answer token under base and adapter, in 2**-64 nat, without a gradient; None: under the base.

        Raises as ``answer``.
        """
        if adapter is None:
            return self.base_loss(prompt, completion)
        return self.losses_without(adapter, [None], prompt, completion)[0]

    def losses_without(
        self,
        adapter: Path,
        displacements: Iterable[Quantised | None],
        prompt: Sequence[int],
        completion: Sequence[int],
    ) -> list[int]:
        """Mean NLL per answer token under the adapter less each displacement (None: less nothing), in 2**-64 nat.

        What a retrained model says, where displacements are by how much somebody moved the weights: no linearisation.
        Raises as ``answer``, and QuantizeError for displacements of another layout.
        """
        self._check(prompt, completion)
        with self._alone(len(prompt) + len(completion)), torch.no_grad():
            weights = self._adapter(adapter)
            first = min(weights.config.layers)
            ids = torch.tensor([[*prompt, *completion]], dtype=torch.int64)
            trunk = self._decoder.trunk(ids, first)
            losses = []
            for displacement in displacements:
                moved = weights if displacement is None else _displaced(weights, displacement)
                with attached(self._decoder.model, moved):
                    losses.append(self._forward_loss(trunk, first, ids, len(completion)))
        if not all(map(_finite, losses)):
            raise NotFinite("the loss of this answer without somebody is not finite")
        return [to_units(float(loss)) for loss in losses]

    @contextmanager
    def _alone(self, tokens: int) -> Iterator[None]:
        """One answer at a time, in float32, by math attention."""
        with self._lock, sdpa_kernel(SDPBackend.MATH), attention_over(tokens), torch.autocast("cpu", enabled=False):
            yield

    def _forward_loss(self, trunk: Tensor, layers: int, ids: Tensor, answer: int) -> Tensor:
        """Mean NLL of the last ``answer`` tokens (float64 scalar), from the first ``layers`` layers' output."""
        with torch.no_grad():
            hidden = self._decoder.upper(trunk, layers)[0, -answer - 1 : -1]
            return token_losses(hidden, ids[0, -answer:], self._decoder.head.weight)[0].double().mean()

    def _loss(self, hidden: Tensor, ids: Tensor, answer: int) -> tuple[Tensor, Tensor]:
        """Mean NLL of the last ``answer`` tokens (float64 scalar), and its gradient in ``hidden`` [1, T, H]."""
        result = head_pass(hidden[0, -answer - 1 : -1].detach(), ids[0, -answer:], self._decoder.head.weight)
        cotangent = torch.zeros_like(hidden)
        cotangent[0, -answer - 1 : -1] = result.gradient / answer
        return result.loss.double().mean(), cotangent

    def _check(self, prompt: Sequence[int], completion: Sequence[int]) -> None:
        if not completion or not prompt:
            raise EmptyAnswer("an answer needs at least one prompt token and one answer token")
        if len(prompt) + len(completion) > self._decoder.context:
            raise AnswerTooLong(
                f"prompt and answer have {len(prompt) + len(completion)} tokens, "
                f"the base model's context is {self._decoder.context}"
            )
        for token in (*prompt, *completion):
            if type(token) is not int or not 0 <= token < self._decoder.vocabulary:
                raise UnknownToken(f"token {token!r} is not in the vocabulary of {self._decoder.vocabulary} tokens")

    def _adapter(self, folder: Path) -> Adapter:
        if folder not in self._adapters:
            self._adapters[folder] = Adapter.load(folder)
            while len(self._adapters) > self._max_adapters:
                self._adapters.popitem(last=False)
        self._adapters.move_to_end(folder)
        return self._adapters[folder]


def _displaced(weights: Adapter, displacement: Quantised) -> Adapter:
    if displacement.sizes != sizes(weights.parameters):
        raise QuantizeError("the adapter and a displacement have different parameter layouts")
    return weights.moved(-torch.from_numpy(displacement.to_float()).float())


def _vector(grads: Sequence[Tensor], whole: Sequence[Decomposed]) -> Tensor:
    """The loss' gradient [P]. grads: as the backward pass gives it; whole: a DoRA adapter's maps, else none."""
    parts = list(grads)
    for k, tensors in enumerate(whole):
        parts[3 * k : 3 * k + 3] = tensors.gradient(*parts[3 * k : 3 * k + 3])
    return torch.cat([part.flatten() for part in parts])


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
