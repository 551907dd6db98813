"""Whether records, a specification and a base model can be trained together, before anything is computed.

Everything that is found here is said in a `TrainingError`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from openledger.influence import index
from openledger.influence.decoder import Decoder
from services.factory.data import Example
from services.factory.progress import TrainingError
from services.factory.spec import FineTuneSpec, unsupported


def check(spec: FineTuneSpec, examples: Sequence[Example]) -> None:
    """The records and the specification.  Raises TrainingError."""
    if reason := unsupported(spec):
        raise TrainingError(reason)
    if not any(example.contributor for example in examples):
        raise TrainingError("there is no record to train on")
    names = Counter(example.record for example in examples)
    if len(names) < len(examples):
        raise TrainingError(f"the record {names.most_common(1)[0][0]} occurs more than once")
    for example in examples:
        if example.contributor and not index.ADDRESS.fullmatch(example.contributor):
            raise TrainingError(f"record {example.record}: {example.contributor!r} is not a lower-case 0x address")
        if not example.prompt or not example.completion:
            raise TrainingError(f"record {example.record} has an empty prompt or completion")


def check_base(spec: FineTuneSpec, decoder: Decoder, examples: Sequence[Example]) -> None:
    """The records and the base model.  Raises TrainingError."""
    if spec.layers > decoder.layers:
        raise TrainingError(f"the base model has {decoder.layers} layers, the specification asks for {spec.layers}")
    for example in examples:
        if example.length > decoder.context:
            raise TrainingError(f"record {example.record} is longer than the base model's context of {decoder.context}")
        if not all(0 <= token < decoder.vocabulary for token in (*example.prompt, *example.completion)):
            raise TrainingError(f"record {example.record} holds a token that the base model does not have")
