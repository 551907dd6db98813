"""The platform that vLLM runs on where it runs on a CPU: its own, with the LoRA arithmetic of engine_vllm_cpu.py.

vLLM asks its platform for that arithmetic, and looks for platforms among the entry points of `vllm.platform_plugins`;
engine_vllm_start.py makes `platform` one of them. Imported wherever vLLM is started, here and in its own process.
"""

from __future__ import annotations

from vllm.platforms import cpu_platform_plugin
from vllm.platforms.cpu import CpuPlatform


class GroupedCpu(CpuPlatform):  # type: ignore[misc]  # vLLM is not typed for us
    """vLLM's CPU, but for one answer."""

    @classmethod
    def get_punica_wrapper(cls) -> str:
        """The class of the LoRA arithmetic, by name."""
        return "services.openlora.engine_vllm_cpu.GroupedLora"


def platform() -> str | None:
    """The platform's name, where vLLM would take its own for CPUs."""
    return f"{__name__}.{GroupedCpu.__name__}" if cpu_platform_plugin() else None
