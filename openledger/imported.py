"""An adapter that was made elsewhere: what of a PEFT folder is brought, and the lineage manifest that its owner signs.

It is brought in the one form that is served and scored alike: a configuration without any switch that this code does
not compute, the same linear maps in every layer that it names, and a contribution index of no rows, since nobody's
records are known to be in it.  Knows neither the base model's sizes nor what the weights are worth.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from openledger import __version__
from openledger.artifacts import file_sha256
from openledger.canonical import parse_json, sha256
from openledger.influence.adapter_config import AdapterConfig, AdapterError
from openledger.influence.index import ContributionIndex, build, root
from openledger.influence.parameters import Parameter, layout
from openledger.manifest import IMPORTED, Base, LineageManifest, Source, imported_prefix, sign

CONFIG, WEIGHTS, INDEX = "adapter_config.json", "adapter_model.safetensors", "contribution_index.safetensors"
BROUGHT = (CONFIG, WEIGHTS)
"""The files that are brought.  The index follows from them."""

_NAME = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.\w+\.(\w+)\.lora_(A\.weight|B\.weight|magnitude_vector)")
_PICKLES = ("adapter_model.bin", "adapter_model.pt", "adapter_model.pth")
_MAX_CONFIG = 2**20
_READ_ANEW = {"target_modules", "layers_to_transform"}
"""Told by the weights, whose names PEFT's patterns stand for."""
_WITHOUT_EFFECT = {
    "auto_mapping", "base_model_name_or_path", "exclude_modules", "inference_mode", "layers_pattern", "lora_dropout",
    "eva_config", "megatron_core", "peft_version", "qalora_group_size", "revision", "task_type",
}  # fmt: skip
"""Of what was trained, and how; nothing is computed by it afterwards."""
_KNOWN = {"peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "bias", "init_lora_weights"}
_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Ways to begin (`init_lora_weights`) that leave the base model's weights as they are; PiSSA's and the like do not."""


def config_of(document: Any, tensors: Iterable[str]) -> AdapterConfig:
    """A PEFT adapter's configuration, layers and maps as its tensors have them.

    document: adapter_config.json as PEFT wrote it; tensors: the names in its weights.  Raises `AdapterError`.
    """
    if not isinstance(document, dict):
        raise AdapterError(f"{CONFIG} is not a JSON object")
    for field, value in document.items():
        if field not in _READ_ANEW | _WITHOUT_EFFECT | _KNOWN and value:
            raise AdapterError(f"{CONFIG}: {field} is set, and is nothing that is computed here")
    start = document.get("init_lora_weights", True)
    if start not in _STARTS:
        raise AdapterError(
            f"{CONFIG}: init_lora_weights={str(start)[:40]!r} changes the base model's weights: let PEFT turn it into "
            "an adapter of the base as it was first (save_pretrained with path_initial_model_for_weight_conversion)"
        )
    layers, maps = _places(tensors)
    return AdapterConfig.from_json(document | {"layers_to_transform": sorted(layers), "target_modules": sorted(maps)})


def _places(tensors: Iterable[str]) -> tuple[set[int], set[str]]:
    """Layers and linear maps.  Raises `AdapterError` unless every one of these layers has every one of these maps."""
    found: set[tuple[int, str]] = set()
    for name in tensors:
        match = _NAME.fullmatch(name)
        if match is None:
            raise AdapterError(f"{WEIGHTS}: {name[:200]} is not a LoRA weight of a linear map in a layer")
        found.add((int(match[1]), match[2]))
    layers, maps = {layer for layer, _ in found}, {name for _, name in found}
    for layer in sorted(layers):
        missing = sorted(name for name in maps if (layer, name) not in found)
        if missing:
            raise AdapterError(f"{WEIGHTS}: layer {layer} has no {missing[0]}, which other layers have")
    return layers, maps


def config_bytes(config: AdapterConfig) -> bytes:
    """The file of a configuration: its one form."""
    return json.dumps(config.to_json(), indent=2, sort_keys=True).encode()


def read(folder: Path) -> tuple[AdapterConfig, ContributionIndex]:
    """The configuration and the index of an adapter in the form in which it is brought.

    Raises `AdapterError`, saying what is wrong, also for a configuration in another form.
    """
    parameters = _parameters(folder / WEIGHTS)
    data = (folder / CONFIG).read_bytes()
    config = config_of(_json(data), [parameter.name for parameter in parameters])
    if config_bytes(config) != data:
        raise AdapterError(f"{CONFIG} is not in the form in which adapters are brought (openledger.imported)")
    return config, build(parameters, {})


def gather(source: Path, target: Path) -> AdapterConfig:
    """Copy a PEFT folder's adapter into another folder, in the form in which it is brought.

    No link is followed, and nothing is unpickled.  Raises `AdapterError`, saying what is wrong and what to do.
    """
    with _plain_file(source, CONFIG) as file:
        document = _json(file.read(_MAX_CONFIG + 1))
    with _plain_file(source, WEIGHTS) as file, (target / WEIGHTS).open("wb") as copy:
        shutil.copyfileobj(file, copy)
    config = config_of(document, [parameter.name for parameter in _parameters(target / WEIGHTS)])
    (target / CONFIG).write_bytes(config_bytes(config))
    return config


def describe(
    folder: Path, name: str, base: Base, *, licence: str, use: str, owner: str, private_key: str
) -> LineageManifest:
    """The signed manifest of an adapter in the form in which it is brought.

    name: what its owner calls it; owner: the lower-case address of the key.  Raises `AdapterError`, `ManifestError`.
    """
    _, index = read(folder)
    files = {file: file_sha256(folder / file) for file in BROUGHT} | {INDEX: sha256(index.to_bytes())}
    return sign(
        LineageManifest(
            adapter=imported_prefix(owner) + name,
            base=base,
            files=files,
            index_root=root(index).hex(),
            snapshots=(),
            spec={},
            contributors={},
            owner=owner,
            metrics={},
            code=f"openledger {__version__}, imported",
            licence=licence,
            use=use,
            source=Source(IMPORTED),
        ),
        private_key,
    )


def _json(data: bytes) -> Any:
    if len(data) > _MAX_CONFIG:
        raise AdapterError(f"{CONFIG} is larger than {_MAX_CONFIG} bytes")
    try:
        return parse_json(data)
    except ValueError as error:
        raise AdapterError(f"{CONFIG} is not JSON: {error}") from error


def _plain_file(folder: Path, name: str) -> BinaryIO:
    """A file that stands in the folder itself: what only points to one might be anybody's."""
    try:
        handle = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise AdapterError(f"there is no {name} in {folder}{_pickled(folder)}") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise AdapterError(f"{name} is a symbolic link: put the file itself into {folder}") from None
        raise AdapterError(f"{name} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise AdapterError(f"{name} is no plain file")
    return os.fdopen(handle, "rb")


def _pickled(folder: Path) -> str:
    for name in _PICKLES:
        if (folder / name).exists():
            return f": {name} is a pickle, which could run anything; save the adapter again as safetensors"
    return ""


def _parameters(weights: Path) -> tuple[Parameter, ...]:
    """The layout of a weights file, of which nothing but the header is read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="np") as file:
            shapes: Mapping[str, list[int]] = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise AdapterError(f"{weights.name} is not a whole safetensors file: {error}") from error
    if not shapes:
        raise AdapterError(f"{weights.name} holds no weights")
    return layout(shapes)
