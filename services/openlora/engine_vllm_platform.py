"""The platform that vLLM runs on where it runs on a CPU: its own, with the LoRA arithmetic of engine_vllm_cpu.py.

vLLM asks its platform for that arithmetic, and looks for platforms among the entry points of `vllm.platform_plugins`;
engine_vllm_start.py makes `platform` one of them. Imported wherever vLLM is started, here and in its own process, and
first of all there: so this is where that process begins to watch ours.
"""

from __future__ import annotations

import os
import threading
import time

from vllm.platforms import cpu_platform_plugin
from vllm.platforms.cpu import CpuPlatform

PARENT = "OPENLEDGER_ENGINE_PARENT"
"""The environment's name for the pid of the process that starts vLLM, which may be gone when it is looked for."""


class GroupedCpu(CpuPlatform):  # type: ignore[misc]  # vLLM is not typed for us
    """vLLM's CPU, but for one answer."""

    @classmethod
    def get_punica_wrapper(cls) -> str:
        """The class of the LoRA arithmetic, by name."""
        return "services.openlora.engine_vllm_cpu.GroupedLora"


def platform() -> str | None:
    """The platform's name, where vLLM would take its own for CPUs."""
    parent = int(os.environ[PARENT])
    if parent != os.getpid():
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    return f"{__name__}.{GroupedCpu.__name__}" if cpu_platform_plugin() else None


def _end_with(parent: int) -> None:
    """Killed services must not leave engines behind, not even half started: nobody would ever speak to them again."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
