"""JSON schemas in vLLM: a logits processor of vLLM's own kind, by its setting `logits_processors`.

vLLM's structured output imports libraries that are not installed here, and has no bounds of its own. This module is
imported in vLLM's process.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

from services.openlora.engine_json import schemas

ARGUMENT = "json_schema"
"""The name of a schema among a request's `extra_args`."""


class JsonSchemas(AdapterLogitsProcessor):  # type: ignore[misc]  # vLLM is not typed for us
    """Narrows the logits of those requests that have a schema, which was checked before vLLM saw it."""

    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None:
        super().__init__(vllm_config, device, is_pin_memory)
        with_tokenizer = ThreadPoolExecutor(1, thread_name_prefix="schemas")
        self._schemas = with_tokenizer.submit(schemas, Path(vllm_config.model_config.model))
        with_tokenizer.shutdown(wait=False)

    def is_argmax_invariant(self) -> bool:
        """Whether the likeliest token stays the likeliest."""
        return False

    def new_req_logits_processor(self, params: Any) -> Any:
        """What is to be done for one request: a function of its tokens so far and its logits."""
        schema = (params.extra_args or {}).get(ARGUMENT)
        if not schema:
            return None
        progress = self._schemas.result().progress(schema)
        return lambda made, logits: progress.narrowed(logits, made)
