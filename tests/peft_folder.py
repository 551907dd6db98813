"""A PEFT folder as people bring it, small enough for any test, and what is made of it on the way to the service."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from openledger import imported
from openledger.client import Wallet
from openledger.imported import CONFIG, WEIGHTS
from openledger.manifest import Base, LineageManifest, sign
from openledger.openlora.v1 import openlora_pb2 as pb


def peft_folder(root: Path, *, width: int = 8, rank: int = 2, seed: int = 0, **config: Any) -> Path:
    """An adapter of two layers' q_proj and v_proj, of a base model whose maps are square."""
    root.mkdir(parents=True)
    values = np.random.default_rng(seed)
    name = "base_model.model.model.layers.{}.self_attn.{}.lora_{}.weight"
    shapes = {"A": (rank, width), "B": (width, rank)}
    tensors = {
        name.format(layer, path, part): values.normal(size=shapes[part]).astype(np.float32) / 10
        for layer in (0, 1)
        for path in ("q_proj", "v_proj")
        for part in shapes
    }
    save_file(tensors, root / WEIGHTS)
    document = {"peft_type": "LORA", "r": rank, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]}
    (root / CONFIG).write_text(json.dumps(document | {"bias": "none", "base_model_name_or_path": "base"} | config))
    return root


def brought(source: Path, target: Path, wallet: Wallet, base_sha256: str, name: str = "poems") -> LineageManifest:
    """The files as they are brought, in `target`, and their signed manifest."""
    target.mkdir(parents=True)
    imported.gather(source, target)
    return described(target, wallet, base_sha256, name)


def described(folder: Path, wallet: Wallet, base_sha256: str, name: str = "poems") -> LineageManifest:
    """The signed manifest of a folder in the form in which it is brought."""
    base, key = Base("a base", base_sha256), wallet.private_key
    return imported.describe(folder, name, base, licence="MIT", use="commercial", owner=wallet.address, private_key=key)


def signed_anew(lineage: LineageManifest, folder: Path, wallet: Wallet) -> LineageManifest:
    """A manifest whose owner signs whatever the folder holds now, however unsound it is."""
    from openledger.artifacts import file_sha256

    files = dict(lineage.files) | {name: file_sha256(folder / name) for name in (CONFIG, WEIGHTS)}
    return sign(replace(lineage, files=files), wallet.private_key)


async def messages(lineage: LineageManifest, folder: Path, size: int = 300) -> AsyncIterator[pb.ImportAdapterRequest]:
    """What is sent, in small pieces."""
    yield pb.ImportAdapterRequest(manifest=lineage.to_bytes())
    for name in (CONFIG, WEIGHTS):
        data = (folder / name).read_bytes()
        for start in range(0, len(data), size):
            yield pb.ImportAdapterRequest(piece=pb.FilePiece(file=name, data=data[start : start + size]))
