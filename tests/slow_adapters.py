"""Adapters that take long to read: those with a file named `slow` in their folder, in every engine.

Imported in vLLM's process, too.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from services.openlora.engine_vllm_stage import Staging

SECONDS = 2.0


def pause(folder: Path) -> None:
    if (folder / "slow").exists():
        time.sleep(SECONDS)


class SlowStaging(Staging):
    """What OpenLoRA adds to vLLM's worker, slower, and with a look at its slots."""

    def adapters_in_slots(self) -> list[int | None]:
        return list(self.model_runner.lora_manager._adapter_manager.lora_index_to_id)

    def _read_adapter(self, request: Any) -> Any:
        pause(Path(request.lora_path))
        return super()._read_adapter(request)
