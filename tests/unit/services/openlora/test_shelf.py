"""The shelf: what is found, what is refused before it is read, and room on the disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from openledger import manifest
from openledger.artifacts import ArtifactError, ArtifactStore
from openledger.client import Wallet
from openledger.manifest import LineageManifest
from services.kit.errors import Fault
from services.openlora.shelf import Shelf
from tests.openlora_world import publish

BASE = "b" * 64
FACTORY, OTHER = Wallet("0x" + "11" * 32), Wallet("0x" + "22" * 32)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def shelf(store: ArtifactStore, tmp_path: Path, capacity: int = 1000, signers: tuple[str, ...] = ()) -> Shelf:
    found = Shelf(store, tmp_path / "unpacked", BASE, capacity, signers)
    found.open()
    return found


def lineage(store: ArtifactStore, number: int, size: int = 98) -> LineageManifest:
    """Of `size` + 2 bytes."""
    name = publish(store, f"n{number}", base_sha256=BASE, weights=bytes([number]) * size)
    return manifest.parse(store.get(name.rpartition("/")[2]))


def signed(store: ArtifactStore, wallet: Wallet) -> LineageManifest:
    plain = replace(lineage(store, 1), licence="MIT", use="commercial")
    return manifest.sign(plain, wallet.private_key)


def there(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "unpacked").iterdir()}


async def test_room_is_made_by_folders_that_nobody_uses(store, tmp_path):
    found, lineages = shelf(store, tmp_path, 200), [lineage(store, number) for number in range(3)]
    for each in lineages[:2]:
        await found.fetch(each, set)
    await found.fetch(lineages[2], lambda: {lineages[0].digest})
    assert there(tmp_path) == {lineages[0].digest, lineages[2].digest}
    path = await found.fetch(lineages[1], set)
    assert (path / "adapter_model.safetensors").read_bytes() == bytes([1]) * 98
    assert len(there(tmp_path)) == 2


async def test_what_is_in_use_stays_even_where_there_is_no_room(store, tmp_path):
    found, lineages = shelf(store, tmp_path, 200), [lineage(store, number) for number in range(3)]
    for each in lineages:
        await found.fetch(each, lambda: {each.digest for each in lineages})
    assert len(there(tmp_path)) == 3


async def test_what_is_larger_than_all_may_be_is_refused(store, tmp_path):
    with pytest.raises(ArtifactError, match="it has 302 bytes, more than"):
        await shelf(store, tmp_path, 200).fetch(lineage(store, 1, 300), set)


async def test_the_next_process_takes_over_what_is_there_and_cleans_up(store, tmp_path):
    lineages = [lineage(store, number) for number in range(3)]
    before = shelf(store, tmp_path, 200)
    for each in lineages[:2]:
        await before.fetch(each, set)
    (tmp_path / "unpacked" / ".new-x").write_bytes(b"half")
    after = shelf(store, tmp_path, 200)
    assert there(tmp_path) == {each.digest for each in lineages[:2]}
    assert lineages[0].digest in after
    await after.fetch(lineages[2], set)
    assert len(there(tmp_path)) == 2


async def test_a_folder_that_was_removed_is_made_again(store, tmp_path):
    found, each = shelf(store, tmp_path), lineage(store, 1)
    path = await found.fetch(each, set)
    (path / "adapter_model.safetensors").unlink()
    (path / "adapter_config.json").unlink()
    path.rmdir()
    assert each.digest not in found
    assert (await found.fetch(each, set) / "adapter_config.json").read_bytes() == b"{}"


async def test_what_is_damaged_leaves_no_folder(store, tmp_path):
    found, each = shelf(store, tmp_path), lineage(store, 1)
    place = store.path(each.files["adapter_model.safetensors"])
    place.chmod(0o644)
    place.write_bytes(b"x" * 98)
    with pytest.raises(ArtifactError, match="damaged"):
        await found.fetch(each, set)
    assert there(tmp_path) == set()


@pytest.mark.parametrize(("signer", "trusted"), ((FACTORY, True), (OTHER, False)))
def test_only_signers_that_count_are_served_where_there_are_any(store, tmp_path, signer, trusted):
    each = signed(store, signer)
    shelf(store, tmp_path).check(each)
    strict = shelf(store, tmp_path, signers=(FACTORY.address,))
    if trusted:
        strict.check(each)
        return
    with pytest.raises(Fault, match=f"signed by {OTHER.address}") as caught:
        strict.check(each)
    assert caught.value.reason == "UNTRUSTED_SIGNER"


def test_what_nobody_signed_is_not_served_where_signers_count(store, tmp_path):
    with pytest.raises(Fault, match="signed by nobody"):
        shelf(store, tmp_path, signers=(FACTORY.address,)).check(lineage(store, 1))
