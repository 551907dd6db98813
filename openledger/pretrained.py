"""Reads a causal language model from a folder, one at a time.

Transformers replaces methods of all its models while it reads one (`no_tie_weights`), and puts back what it found: of
two threads that read at once, one puts back the other's replacement, and from then on no model of this process can be
read that shares its embeddings with its head.  Nothing else of ours calls `from_pretrained` of a model.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

_ONE_AT_A_TIME = threading.Lock()


def causal_lm(folder: Path, **how: Any) -> Any:
    """What `AutoModelForCausalLM.from_pretrained` returns of a folder on this machine.  Raises what it raises."""
    from transformers import AutoModelForCausalLM

    with _ONE_AT_A_TIME:
        return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **how)
