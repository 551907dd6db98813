"""What an engine cannot serve is refused here, before it reaches one.

What it does not know: what the service allows.
"""

from __future__ import annotations

import math

from services.openlora.engine import EngineRequest, RequestRejected, Sampling

MAX_LOGPROBS = 20
"""The most of the likeliest tokens that are told, as in vLLM."""


def check_request(request: EngineRequest, *, context: int, vocabulary: int, samples: frozenset[str]) -> None:
    """Refuse what an engine of such a context, vocabulary and `Engine.samples` cannot serve, before it reaches it.

    Raises:
        RequestRejected: says what is wrong.
    """
    length, wanted = len(request.prompt_token_ids), request.sampling.max_tokens
    if not length:
        raise RequestRejected("the prompt is empty")
    if wanted < 1:
        raise RequestRejected("max_tokens must be at least 1")
    if length + 1 > context:
        raise RequestRejected(f"the prompt has {length} tokens; prompt and answer together may have {context}")
    if not all(0 <= token < vocabulary for token in request.prompt_token_ids):
        raise RequestRejected(f"the prompt names a token outside the model's vocabulary of {vocabulary}")
    if request.sampling.json_schema and "json_schema" not in samples:
        raise RequestRejected("this engine does not do json_schema")
    _check_sampling(request.sampling)


def _check_sampling(sampling: Sampling) -> None:
    # NaN compares false with everything.
    allowed = {
        "temperature must not be negative": 0 <= sampling.temperature < math.inf,
        "top_p must lie in (0, 1]": 0 < sampling.top_p <= 1,
        "top_k must not be negative": sampling.top_k >= 0,
        "min_p must lie in [0, 1]": 0 <= sampling.min_p <= 1,
        "presence_penalty must lie in [-2, 2]": -2 <= sampling.presence_penalty <= 2,
        "frequency_penalty must lie in [-2, 2]": -2 <= sampling.frequency_penalty <= 2,
        "repetition_penalty must be above 0": 0 < sampling.repetition_penalty < math.inf,
        f"logprobs must lie in [0, {MAX_LOGPROBS}]": 0 <= (sampling.logprobs or 0) <= MAX_LOGPROBS,
        "an empty stop text would stop everything": all(sampling.stop),
    }
    for rule, kept in allowed.items():
        if not kept:
            raise RequestRejected(rule)
