"""vLLM by itself, in a process of its own: `LLM.generate` of lists of prompts, as fast as it goes.

Run as `python -m bench.serve.bare '{"base": ..., ...}'`; reads a JSON object a line, {prompts, tokens, adapter}, and
writes one, {seconds, tokens, threads}.  Started with the numbers that OpenLoRA starts vLLM with, and none of its code:
vLLM's own worker and LoRA arithmetic, and no LoRA at all where `ranks` is 0.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Numbers:
    """How much vLLM is to make room for."""

    base: str
    context: int
    running: int
    cache_bytes: int
    slots: int
    dtype: str
    ranks: int
    """Highest LoRA rank; 0: without LoRA."""


def main() -> None:
    """Answer until the input ends."""
    numbers = Numbers(**json.loads(sys.argv[1]))
    llm = opened(numbers)
    _tell({"ready": True})
    for line in sys.stdin:
        _tell(generated(llm, numbers, **json.loads(line)))


def opened(numbers: Numbers) -> Any:
    """vLLM, with its engine in this process."""
    from vllm import LLM

    lora = {"enable_lora": True, "max_loras": numbers.slots, "max_lora_rank": numbers.ranks} if numbers.ranks else {}
    return LLM(
        model=numbers.base,
        dtype=numbers.dtype,
        enforce_eager=True,
        max_model_len=numbers.context,
        max_num_seqs=numbers.running,
        max_num_batched_tokens=max(512, numbers.running),
        kv_cache_memory_bytes=numbers.cache_bytes,
        generation_config="vllm",
        seed=0,
        **lora,
    )


def generated(llm: Any, numbers: Numbers, prompts: list[str], tokens: int, adapter: str) -> dict[str, float]:
    """Answer all prompts at once; seconds that it took, and tokens that came."""
    import torch
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest

    from services.openlora.engine_text import end_tokens

    how = SamplingParams(temperature=0, max_tokens=tokens, stop_token_ids=sorted(end_tokens(Path(numbers.base))))
    lora = LoRARequest("bench", 1, adapter) if adapter else None
    begun = time.perf_counter()
    answers = llm.generate(prompts, how, lora_request=lora, use_tqdm=False)
    seconds = time.perf_counter() - begun
    made = sum(len(answer.outputs[0].token_ids) for answer in answers)
    return {"seconds": seconds, "tokens": made, "threads": torch.get_num_threads()}


def _tell(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
