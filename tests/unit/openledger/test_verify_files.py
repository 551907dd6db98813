"""Several receipts in one run: what they have in common is hashed once, and again where it was changed meanwhile."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import replace

import pytest

from openledger import artifacts, verify_files
from openledger.receipt import sign
from openledger.verify import verify_receipt
from openledger.verify_adapter import INDEX
from openledger.verify_files import Files
from tests.receipt_world import KEY, damage


@pytest.fixture
def hashed(monkeypatch) -> Counter:
    """How often each file was hashed, and the root of an index computed."""
    counts: Counter = Counter()

    def counting(module, name):
        known = getattr(module, name)

        def called(what):
            counts[what.name if name == "file_sha256" else name] += 1
            return known(what)

        monkeypatch.setattr(module, name, called)

    counting(artifacts, "file_sha256")
    counting(verify_files, "file_sha256")
    counting(verify_files, "index_root")
    return counts


def three(world):
    return [sign(world.receipt(world.trace(response=f"responses/r{number}")), KEY).dumps() for number in range(3)]


def test_what_receipts_have_in_common_is_hashed_once(world, hashed):
    receipts = three(world)
    hashed.clear()
    files = Files(world.store)
    assert all(verify_receipt(data, files, world.base).ok for data in receipts)
    index = world.lineage.files[INDEX]
    assert (hashed["model.safetensors"], hashed[index], hashed["index_root"]) == (1, 1, 1)
    assert verify_receipt(receipts[0], world.store, world.base).ok
    assert (hashed["model.safetensors"], hashed[index], hashed["index_root"]) == (2, 2, 2), (
        "another run believes nobody"
    )


def test_what_was_changed_between_two_receipts_is_found(world, tmp_path):
    base = shutil.copytree(world.base, tmp_path / "base")
    receipts, files = three(world), Files(world.store)
    assert verify_receipt(receipts[0], files, base).ok
    weights = base / "model.safetensors"
    weights.chmod(0o644)
    data, time = weights.read_bytes(), weights.stat().st_mtime_ns
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(weights, ns=(time, time + 1))
    assert [check.name for check in verify_receipt(receipts[1], files, base).failed] == ["base"]
    weights.write_bytes(data)
    damage(world, world.lineage.files[INDEX])
    assert [check.name for check in verify_receipt(receipts[2], files, base).failed] == ["files"]


def test_an_index_that_another_receipt_names_has_its_own_root(world):
    """A root is known by the SHA-256 of its index alone."""
    files, (first, *_) = Files(world.store), three(world)
    assert verify_receipt(first, files, world.base).ok
    receipt = world.receipt(world.trace())
    forged = sign(replace(receipt, model=replace(receipt.model, index_root="6" * 64)), KEY)
    assert [check.name for check in verify_receipt(forged.dumps(), files, world.base).failed] == ["index"]
