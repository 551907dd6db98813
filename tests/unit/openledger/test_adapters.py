from __future__ import annotations

import os
from pathlib import Path

import pytest

from openledger import manifest
from openledger.adapters import ADAPTER_FILES, materialise, read_manifest
from openledger.artifacts import ArtifactError, ArtifactStore, file_sha256


@pytest.mark.parametrize("digest", ("..", ".", "", "../secret", "5" * 63, "A" * 64))
def test_a_name_that_is_no_digest_leads_nowhere(tmp_path, digest):
    """Such a name would be taken for a folder that is there already, wherever that is."""
    (tmp_path / "adapters").mkdir()
    (tmp_path / "secret").mkdir()
    with pytest.raises(ArtifactError, match="not the name of an artifact"):
        materialise(ArtifactStore(tmp_path / "artifacts"), digest, tmp_path / "adapters")


def test_a_revision_that_was_not_published_is_not_taken_from_what_lies_around(tmp_path):
    (tmp_path / "adapters" / ("5" * 64)).mkdir(parents=True)
    with pytest.raises(ArtifactError, match="cannot be read"):
        materialise(ArtifactStore(tmp_path / "artifacts"), "5" * 64, tmp_path / "adapters")


@pytest.mark.parametrize("left", (b"", None, b"torn"))
@pytest.mark.parametrize("name", ADAPTER_FILES)
def test_a_copy_that_a_power_cut_left_torn_is_made_again(world, tmp_path, name, left):
    folder = materialise(world.store, world.lineage.digest, tmp_path / "adapters")
    (folder / name).unlink()
    if left is not None:
        (folder / name).write_bytes(left)
    assert materialise(world.store, world.lineage.digest, tmp_path / "adapters") == folder
    found = {file.name: file_sha256(file) for file in folder.iterdir()}
    assert found == {name: world.lineage.files[name] for name in ADAPTER_FILES}
    assert list((tmp_path / "adapters").iterdir()) == [folder]


def test_a_file_is_on_the_disk_before_it_is_in_its_place(world, tmp_path, monkeypatch):
    done, sync, replace = [], os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("sync"), sync(handle)))
    monkeypatch.setattr(Path, "replace", lambda new, place: (done.append(place.name), replace(new, place)))
    materialise(world.store, world.lineage.digest, tmp_path / "adapters")
    assert done == ["sync", ADAPTER_FILES[0], "sync", ADAPTER_FILES[1], "sync", "sync"]


def test_whole_copies_are_left_alone(world, tmp_path):
    folder = materialise(world.store, world.lineage.digest, tmp_path / "adapters")
    before = {file: file.stat().st_ino for file in folder.iterdir()}
    materialise(world.store, world.lineage.digest, tmp_path / "adapters")
    assert {file: file.stat().st_ino for file in folder.iterdir()} == before


def test_weights_that_are_named_as_a_revision_are_not_read_into_memory(tmp_path, monkeypatch):
    store = ArtifactStore(tmp_path)
    digest = store.put(b"w" * (manifest.MAX_BYTES + 1))
    monkeypatch.setattr(ArtifactStore, "get", lambda *_: pytest.fail("it was read"))
    with pytest.raises(manifest.ManifestError, match="has more"):
        read_manifest(store, digest)
